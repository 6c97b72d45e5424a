"""Figures over the whole catalog: they read an index from end to end, so their cost grows with it (census.py)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import ColumnElement, Connection, func, select

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.apply import unanswered
from librarian_daemon.catalog.mesh.holders import Holders, good_elsewhere, holders
from librarian_protocol import api
from librarian_protocol.names import SiteName
from librarian_protocol.transfer import State
from librarian_protocol.wanted import InstanceState


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """What :func:`count` found."""

    totals: api.Counts
    #: By the id of a store of this site: good instances, and their bytes.
    stores: dict[str, tuple[int, int]]
    #: By state; states without any are left out.
    transfers: dict[str, int]
    #: Parked ones by reason.
    parked: dict[str, int]
    #: By site: files and bytes that are still to come from it, and since when (see :func:`owed_by_source`).
    owed: dict[str, tuple[int, int, str]]
    outbox: int
    #: Files of which this site holds the only good instances, and their bytes.
    only_here: tuple[int, int] = (0, 0)


NOTHING = Counted(
    totals=api.Counts(files=0, instances_here=0, instances_elsewhere=0, conflicts=0, suspected=0, doubted=0),
    stores={},
    transfers={},
    parked={},
    owed={},
    outbox=0,
)


def count(connection: Connection, site: SiteName) -> Counted:
    """All figures, of one moment."""
    known = holders(connection)
    instances = [
        total
        for total in instance_totals(connection)
        if (
            known.store_counts(total.site, total.store) if total.site == site else known.counts(total.site, total.store)
        )
    ]
    return Counted(
        totals=totals(connection, site, instances, known),
        stores=store_totals(instances, site),
        transfers=transfers_by_state(connection),
        parked=parked_by_reason(connection),
        owed=owed_by_source(connection),
        outbox=outbox_length(connection),
        only_here=only_here(connection, site, known),
    )


def only_here(connection: Connection, site: SiteName, known: Holders) -> tuple[int, int]:
    """Files with a good instance at this site and at no other that counts, and their bytes."""
    mine, other = schema.instance.alias("mine").c, schema.instance.alias("other").c
    elsewhere = good_elsewhere(other, known).where(other.file_id == mine.file_id, other.site != str(site))
    out = sorted(store for at, store in known.stores_out if at == site)
    files = select(mine.file_id, func.min(mine.size_bytes).label("size_bytes")).where(
        mine.site == str(site), mine.state == InstanceState.AVAILABLE, mine.store.not_in(out), ~elsewhere
    )
    held = files.group_by(mine.file_id).subquery()
    row = connection.execute(select(func.count(), *_halves(held.c.size_bytes)).select_from(held)).one()
    return int(row[0]), _whole(row[1], row[2])


class InstanceTotals(msgspec.Struct, frozen=True, kw_only=True):
    """How many instances of one state stand in one store, and their bytes."""

    site: str
    store: str
    state: str
    count: int
    size_bytes: int


def instance_totals(connection: Connection) -> list[InstanceTotals]:
    """Totals of all stores: one pass over an index, which holds all that is asked."""
    instance = schema.instance.c
    key = (instance.site, instance.store, instance.state)
    statement = select(*key, func.count(), *_halves(instance.size_bytes)).group_by(*key).order_by(*key)
    return [
        InstanceTotals(site=row[0], store=row[1], state=row[2], count=int(row[3]), size_bytes=_whole(row[4], row[5]))
        for row in connection.execute(statement)
    ]


def _halves(size_bytes: ColumnElement[int]) -> tuple[ColumnElement[int], ColumnElement[int]]:
    """The sums of the upper and the lower 32 bits: SQLite fails where a sum goes beyond 2^63, which these cannot."""
    halves = size_bytes // (1 << 32), size_bytes % (1 << 32)
    return func.coalesce(func.sum(halves[0]), 0), func.coalesce(func.sum(halves[1]), 0)


def _whole(upper: int, lower: int) -> int:
    """The sum, of any size. PostgreSQL gives decimals."""
    return (int(upper) << 32) + int(lower)


def _doubted(connection: Connection, known: Holders) -> int:
    """Good instances that any site doubts. Each is counted once, however many sites doubt it."""
    doubt = schema.doubt.c
    doubted = (
        select(doubt.file_id, doubt.site, doubt.store)
        .join(schema.instance, unanswered())
        .where(schema.instance.c.state == InstanceState.AVAILABLE)
        .distinct()
    )
    return sum(known.counts(row.site, row.store) for row in connection.execute(doubted))


def totals(connection: Connection, site: SiteName, instances: Sequence[InstanceTotals], known: Holders) -> api.Counts:
    """Totals over the catalog; ``instances`` are those that count."""
    good = [total for total in instances if total.state == InstanceState.AVAILABLE]
    return api.Counts(
        files=connection.scalar(select(func.count()).select_from(schema.file)) or 0,
        instances_here=sum(total.count for total in good if total.site == site),
        instances_elsewhere=sum(total.count for total in good if total.site != site),
        conflicts=connection.scalar(select(func.count()).select_from(schema.conflict)) or 0,
        suspected=sum(total.count for total in instances if total.state == InstanceState.SUSPECTED),
        doubted=_doubted(connection, known),
    )


def store_totals(instances: Sequence[InstanceTotals], site: SiteName) -> dict[str, tuple[int, int]]:
    """Good instances and their bytes in each store of a site."""
    return {
        total.store: (total.count, total.size_bytes)
        for total in instances
        if total.site == site and total.state == InstanceState.AVAILABLE
    }


def transfers_by_state(connection: Connection) -> dict[str, int]:
    """Number of transfers by state; states without any are left out."""
    transfer = schema.transfer.c
    rows = connection.execute(select(transfer.state, func.count()).group_by(transfer.state))
    return dict(sorted((state, count) for state, count in rows))


def parked_by_reason(connection: Connection) -> dict[str, int]:
    """Number of parked transfers by reason; reasons without any are left out."""
    transfer = schema.transfer.c
    rows = connection.execute(
        select(transfer.reason, func.count()).where(transfer.state == State.PARKED.value).group_by(transfer.reason)
    )
    return {reason: count for reason, count in rows if reason}


def owed_by_source(connection: Connection) -> dict[str, tuple[int, int, str]]:
    """Files and bytes not stored yet, and since when the oldest is owed, by the site that is to give them.

    That is the origin, until a source was chosen. Since when does not depend on attempts or restarts.
    """
    transfer, file = schema.transfer.c, schema.file.c
    source = func.coalesce(transfer.source, file.origin_site, "")
    rows = connection.execute(
        select(source, func.count(), *_halves(file.size_bytes), func.min(transfer.created_at))
        .join(schema.file, file.id == transfer.file_id)
        .where(transfer.state.not_in([State.STORED.value, State.CANCELLED.value]))
        .group_by(source)
    )
    return {row[0]: (int(row[1]), _whole(row[2], row[3]), str(row[4])) for row in rows}


def outbox_length(connection: Connection) -> int:
    """Segments that the bus has not acknowledged."""
    return connection.scalar(select(func.count()).select_from(schema.outbox)) or 0
