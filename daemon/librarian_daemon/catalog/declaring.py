"""What a site says of itself at each start: its stores, and how bytes can be had from it, where that has changed."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import select

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.writer import Tx
from librarian_protocol import wire
from librarian_protocol.entries import SiteAnnounced, StoreDeclared, StoreRole
from librarian_protocol.names import SiteName


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """A configured store."""

    id: str
    label: str
    role: StoreRole
    ingestable: bool


def declare(tx: Tx, site: SiteName, stores: Sequence[Declared], announced: SiteAnnounced) -> None:
    """Say what is new or different. Idempotent."""
    store, announcement = schema.store.c, schema.announcement.c
    known = {
        row.id: row
        for row in tx.connection.execute(
            select(schema.store).where(store.site == str(site), store.retired.is_(False))
        ).all()
    }
    for one in stores:
        row = known.pop(one.id, None)
        now = (one.label, one.role.value, True, one.ingestable)
        if row is None or (row.label, row.role, row.active, row.ingestable) != now:
            tx.say(_declared(one.id, one.label, one.role, active=True, ingestable=one.ingestable))
    for row in known.values():
        if row.active:
            # Taken out of the configuration: what stands in it is still there, but nothing new goes to it.
            tx.say(_declared(row.id, row.label, StoreRole(row.role), active=False, ingestable=False))
    said = tx.connection.execute(select(schema.announcement).where(announcement.site == str(site))).first()
    adapters = wire.encode(announced.adapters).decode()
    now_said = (announced.software, adapters, announced.certificate, announced.leaf_address)
    if said is None or (said.software, said.adapters, said.certificate, said.leaf_address) != now_said:
        tx.say(announced)


def _declared(store: str, label: str, role: StoreRole, *, active: bool, ingestable: bool) -> StoreDeclared:
    return StoreDeclared(store=store, label=label, role=role, technology="posix", active=active, ingestable=ingestable)
