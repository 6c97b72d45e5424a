"""Attributes of files. Only what the file's origin says of them counts."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, and_, select

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.upserts import chunks, expanding
from librarian_protocol.attributes import Attributes
from librarian_protocol.digests import Digest

_FILE, _ATTRIBUTE = schema.file.c, schema.attribute.c
_OF_FILES = (
    select(_FILE.id, _FILE.mtime_ns, _ATTRIBUTE.executable, _ATTRIBUTE.list)
    .outerjoin(schema.attribute, and_(_ATTRIBUTE.file_id == _FILE.id, _ATTRIBUTE.site == _FILE.origin_site))
    .where(_FILE.id.in_(expanding("ids")))
)


def of_files(connection: Connection, ids: Iterable[int]) -> dict[int, Attributes]:
    """By file id. What sites other than its origin say of a file does not count."""
    return {
        row.id: Attributes(
            mtime_ns=row.mtime_ns, executable=bool(row.executable), list=Digest(row.list) if row.list else None
        )
        for page in chunks(sorted(set(ids)))
        for row in connection.execute(_OF_FILES, {"ids": page})
    }


def of_file(connection: Connection, file_id: int) -> Attributes:
    """Of one file; nothing is known of one that there is not."""
    return of_files(connection, [file_id]).get(file_id, Attributes())
