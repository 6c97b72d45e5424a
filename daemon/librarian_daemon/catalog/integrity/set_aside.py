"""Operations on instances that are set aside: bytes of files whose name another file was decided to have."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, delete, exists, select, update

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.apply import is_loser
from librarian_daemon.catalog.eviction_rows import is_away
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.upserts import upsert
from librarian_protocol.digests import Digest
from librarian_protocol.entries import EntryId, Unit
from librarian_protocol.names import Name, SiteName
from librarian_protocol.wanted import InstanceState


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """An own instance that does not stand where the decision wants it."""

    file_id: int
    store: str
    name: Name
    digest: Digest
    size_bytes: int
    unit: Unit
    #: It is to be set aside; else it is to get its name back.
    aside: bool


def due(connection: Connection, site: SiteName, limit: int) -> list[Move]:
    """Moves that are to be made, those that set aside first: a name must be free before it is given."""
    file, instance, aside, naming = schema.file.c, schema.instance.c, schema.aside.c, schema.naming.c
    is_aside = exists().where(aside.file_id == instance.file_id, aside.store == instance.store)
    columns = (file.id, instance.store, file.name, file.digest, file.size_bytes, file.unit)
    losers = (
        select(*columns)
        .join(schema.naming, (naming.name == file.name) & (naming.kept != file.digest))
        .join(schema.instance, (instance.file_id == file.id) & (instance.site == str(site)))
        .where(instance.state != InstanceState.REMOVED, ~is_aside)
        .order_by(file.id)
        .limit(limit)
    )
    returning = (
        select(*columns)
        .join(schema.aside, aside.file_id == file.id)
        .join(
            schema.instance,
            (instance.file_id == file.id) & (instance.site == str(site)) & (instance.store == aside.store),
        )
        .where(~is_loser(), ~exists().where(schema.conflict.c.name == file.name))
        .order_by(file.id)
        .limit(limit)
    )
    return [
        Move(
            file_id=row.id,
            store=row.store,
            name=Name(row.name),
            digest=Digest(row.digest),
            size_bytes=row.size_bytes,
            unit=Unit(row.unit),
            aside=set_aside,
        )
        for set_aside, query in ((True, losers), (False, returning))
        for row in connection.execute(query)
        # What is given up is put back first: there, or aside.
        if not is_away(connection, row.id, row.store)
    ]


class Place(msgspec.Struct, frozen=True):
    """Whether an own instance stands at its name, and a number that grows when anything is decided or moved there."""

    at_its_name: bool
    change: int


def place(connection: Connection, file_id: int, store: str) -> Place:
    """Where an own instance stands now, or is about to."""
    file, aside = schema.file.c, schema.aside.c
    row = connection.execute(
        select(file.change, file.withdrawn, is_loser().label("loser")).where(file.id == file_id)
    ).one()
    is_aside = connection.scalar(select(exists().where(aside.file_id == file_id, aside.store == store)))
    away = is_away(connection, file_id, store)
    return Place(at_its_name=not row.loser and not row.withdrawn and not is_aside and not away, change=row.change)


def moved(tx: Tx, move: Move) -> None:
    """The bytes stand where they should. Every file of the name is planned anew. Idempotent."""
    aside, file = schema.aside, schema.file
    if move.aside:
        tx.connection.execute(
            upsert(tx.connection, aside).on_conflict_do_nothing(), {"file_id": move.file_id, "store": move.store}
        )
    else:
        tx.connection.execute(delete(aside).where(aside.c.file_id == move.file_id, aside.c.store == move.store))
    tx.connection.execute(update(file).where(file.c.name == str(move.name)).values(change=tx.next_change()))


def decisions(connection: Connection, name: Name) -> list[EntryId]:
    """All decisions about a name that are known here."""
    resolution = schema.resolution.c
    rows = connection.execute(
        select(resolution.site, resolution.incarnation, resolution.seq)
        .where(resolution.name == str(name))
        .order_by(resolution.site, resolution.epoch, resolution.incarnation, resolution.seq)
    )
    return [EntryId(site=SiteName(row.site), incarnation=row.incarnation, seq=row.seq) for row in rows]
