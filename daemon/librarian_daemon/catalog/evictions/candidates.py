"""Own instances that a rule may give up, by pages."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, select

from librarian_daemon.catalog import schema
from librarian_protocol.names import Name, SiteName
from librarian_protocol.wanted import InstanceState


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """An own instance that is available."""

    file_id: int
    name: Name
    size_bytes: int
    #: When it was stored, as its entry says (RFC 3339).
    at: str


def after(connection: Connection, site: SiteName, store: str, file_id: int, limit: int) -> Sequence[Candidate]:
    """Available instances of a store behind a file, in the order in which this site heard of the files."""
    instance, file = schema.instance.c, schema.file.c
    found = connection.execute(
        select(instance.file_id, file.name, file.size_bytes, instance.at)
        .join(schema.file, file.id == instance.file_id)
        .where(
            instance.file_id > file_id,
            instance.site == str(site),
            instance.store == store,
            instance.state == InstanceState.AVAILABLE,
        )
        .order_by(instance.file_id)
        .limit(limit)
    )
    return [Candidate(file_id=row.file_id, name=Name(row.name), size_bytes=row.size_bytes, at=row.at) for row in found]
