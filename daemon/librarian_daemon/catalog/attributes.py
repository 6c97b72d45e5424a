"""Attributes of files. Only what the file's origin says of them counts."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection

from librarian_daemon.catalog import statements
from librarian_protocol.attributes import Attributes
from librarian_protocol.digests import Digest


def of_files(connection: Connection, ids: Iterable[int]) -> dict[int, Attributes]:
    """By file id. What sites other than its origin say of a file does not count."""
    wanted = sorted(set(ids))
    if not wanted:
        return {}
    return {
        id_: Attributes(mtime_ns=mtime_ns, executable=bool(executable), list=Digest(listed) if listed else None)
        for id_, mtime_ns, executable, listed in statements.ATTRIBUTES.rows(connection, wanted)
    }


def of_file(connection: Connection, file_id: int) -> Attributes:
    """Of one file; nothing is known of one that there is not."""
    return of_files(connection, [file_id]).get(file_id, Attributes())
