"""Operations of asking holders how their instances stand."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, literal, select, tuple_

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.apply import spoken_of
from librarian_daemon.catalog.mesh.holders import holders
from librarian_protocol import globs
from librarian_protocol.digests import Digest
from librarian_protocol.names import Name, SiteName
from librarian_protocol.wanted import InstanceState

_PAGE = 500


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """An instance, as the journals have it."""

    name: Name
    digest: Digest
    size_bytes: int
    site: SiteName
    store: str
    label: str
    #: ``available`` or ``suspected``.
    state: str


def registered(connection: Connection, match: str, limit: int) -> list[Registered] | None:
    """The instances of the files whose names match, at all sites that count; None: there are more than ``limit``."""
    file, instance, store, known = schema.file.c, schema.instance.c, schema.store.c, holders(connection)
    found: list[Registered] = []
    name, id_ = "", 0
    while True:
        exactly = [file.name == match] if globs.literal(match) == match else []
        page = connection.execute(
            select(file.id, file.name)
            .where(tuple_(file.name, file.id) > tuple_(literal(name), literal(id_)), spoken_of(), *exactly)
            .order_by(file.name, file.id)
            .limit(_PAGE)
        ).all()
        if not page:
            return found
        rows = connection.execute(
            select(schema.file, instance.site, instance.store, instance.state, store.label)
            .join(schema.instance, instance.file_id == file.id)
            .outerjoin(schema.store, (store.site == instance.site) & (store.id == instance.store))
            .where(
                file.id.in_([row.id for row in page if globs.matches(match, row.name)]),
                instance.state != InstanceState.REMOVED,
            )
            .order_by(file.name, file.id, instance.site, instance.store)
        )
        found += [
            Registered(
                name=Name(row.name),
                digest=Digest(row.digest),
                size_bytes=row.size_bytes,
                site=SiteName(row.site),
                store=row.store,
                label=row.label or "",
                state=row.state,
            )
            for row in rows
            if known.counts(row.site, row.store)
        ]
        if len(found) > limit:
            return None
        name, id_ = page[-1].name, page[-1].id


def verified_at(connection: Connection, file_id: int, store: str) -> str:
    """When an own instance was read last; "" for never."""
    verified = schema.verified.c
    found = connection.scalar(select(verified.at).where(verified.file_id == file_id, verified.store == store))
    return found or ""
