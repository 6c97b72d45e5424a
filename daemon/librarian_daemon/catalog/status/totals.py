"""Figures over the whole catalog: they read an index from end to end, so their cost grows with it (census.py)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, func, select

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.apply import unanswered
from librarian_protocol import api
from librarian_protocol.names import SiteName
from librarian_protocol.transfer import State


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


def count(connection: Connection, site: SiteName) -> Counted:
    """All of it, of one moment."""
    instances = instance_totals(connection)
    return Counted(
        totals=totals(connection, site, instances),
        stores=store_totals(instances, site),
        transfers=transfers_by_state(connection),
        parked=parked_by_reason(connection),
        owed=owed_by_source(connection),
        outbox=outbox_length(connection),
    )


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
    rows = connection.execute(select(*key, func.count(), func.sum(instance.size_bytes)).group_by(*key).order_by(*key))
    return [
        InstanceTotals(site=row[0], store=row[1], state=row[2], count=int(row[3]), size_bytes=int(row[4]))
        for row in rows
    ]


def _doubted(connection: Connection) -> int:
    """Good instances that anybody's doubt stands against: each once, however many doubt it."""
    doubt = schema.doubt.c
    doubted = (
        select(doubt.file_id, doubt.site, doubt.store)
        .join(schema.instance, unanswered())
        .where(schema.instance.c.state == "available")
        .distinct()
    )
    return connection.scalar(select(func.count()).select_from(doubted.subquery())) or 0


def totals(connection: Connection, site: SiteName, instances: Sequence[InstanceTotals]) -> api.Counts:
    """Totals over the catalog."""
    good = [one for one in instances if one.state == "available"]
    return api.Counts(
        files=connection.scalar(select(func.count()).select_from(schema.file)) or 0,
        instances_here=sum(one.count for one in good if one.site == site),
        instances_elsewhere=sum(one.count for one in good if one.site != site),
        conflicts=connection.scalar(select(func.count()).select_from(schema.conflict)) or 0,
        suspected=sum(one.count for one in instances if one.state == "suspected"),
        doubted=_doubted(connection),
    )


def store_totals(instances: Sequence[InstanceTotals], site: SiteName) -> dict[str, tuple[int, int]]:
    """Good instances and their bytes in each store of a site."""
    return {
        one.store: (one.count, one.size_bytes) for one in instances if one.site == site and one.state == "available"
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
        select(source, func.count(), func.coalesce(func.sum(file.size_bytes), 0), func.min(transfer.created_at))
        .join(schema.file, file.id == transfer.file_id)
        .where(transfer.state.not_in([State.STORED.value, State.CANCELLED.value]))
        .group_by(source)
    )
    return {row[0]: (int(row[1]), int(row[2]), str(row[3])) for row in rows}


def outbox_length(connection: Connection) -> int:
    """Segments that the bus has not acknowledged."""
    return connection.scalar(select(func.count()).select_from(schema.outbox)) or 0
