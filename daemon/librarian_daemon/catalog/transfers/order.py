"""In which order transfers are fetched: by priority, then as they were wanted."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Connection,
    Integer,
    bindparam,
    exists,
    func,
    select,
    tuple_,
    update,
)

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.sets import OfMany
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.transfers import transfers
from librarian_daemon.catalog.transfers.transfers import TransferView
from librarian_daemon.catalog.upserts import chunks, expanding
from librarian_protocol.names import SiteName
from librarian_protocol.priorities import MOST, Queued
from librarian_protocol.transfer import State
from librarian_protocol.wanted import InstanceState

_TRANSFER = schema.transfer.c
#: Before all that is wanted.
FIRST = (-MOST - 1, 0)


def wanted_now(
    connection: Connection, limit: int, after: tuple[int, int] = FIRST, full: Set[SiteName] = frozenset()
) -> list[TransferView]:
    """Transfers in state ``wanted`` behind a place, in their order, but for those that a batch elsewhere is to bring.

    Transfers whose only sources are in ``full`` are skipped.
    """
    return _found(connection, _NOW, full, rank=after[0], after=after[1], limit=limit)


def _found(
    connection: Connection, queries: tuple[OfMany, OfMany], full: Set[SiteName], **values: int
) -> list[TransferView]:
    """By the first of two queries if no site is full, else by the second."""
    anywhere, elsewhere = queries
    if not full:
        return transfers.views(anywhere.rows(connection, values))
    return transfers.views(elsewhere.rows(connection, {**values, "full": sorted(map(str, full))}))


WANTED = (
    transfers.VIEW.where(
        _TRANSFER.state == State.WANTED.value,
        _TRANSFER.batch.is_(None),
        tuple_(_TRANSFER.rank, _TRANSFER.id)
        > tuple_(bindparam("rank", type_=Integer), bindparam("after", type_=BigInteger)),
    )
    .order_by(_TRANSFER.rank, _TRANSFER.id)
    .limit(bindparam("limit"))
)
_AVAILABLE = select(schema.instance.c.site).where(
    schema.instance.c.file_id == _TRANSFER.file_id, schema.instance.c.state == InstanceState.AVAILABLE
)
_FULL = expanding("full")
_WANTED_ELSEWHERE = WANTED.where(
    exists(_AVAILABLE.where(schema.instance.c.site.not_in(_FULL)))
    # A file that no site has fails for that reason, whichever sites are full.
    | ~exists(_AVAILABLE.where(schema.instance.c.site.in_(_FULL)))
)
_NOW = OfMany(WANTED), OfMany(_WANTED_ELSEWHERE)


def first_wanted(
    connection: Connection, limit: int, each: int, full: Set[SiteName] = frozenset()
) -> list[TransferView]:
    """Of the first so many of :func:`wanted_now`, the first ``each`` of every origin.

    Others of them can begin only if these cannot.
    """
    begin = {"rank": FIRST[0], "after": FIRST[1]}
    return _found(connection, _FIRST, full, **begin, limit=limit, each=each)


def _first_of(wanted: Any) -> Any:
    window = wanted.with_only_columns(_TRANSFER.id, _TRANSFER.rank, schema.file.c.origin_site).subquery().c
    order = window.rank, window.id
    place = func.row_number().over(partition_by=window.origin_site, order_by=order)
    placed = select(window.id, place.label("place")).subquery().c
    chosen = select(placed.id).where(placed.place <= bindparam("each"))
    return transfers.VIEW.where(_TRANSFER.id.in_(chosen)).order_by(_TRANSFER.rank, _TRANSFER.id)


_FIRST = OfMany(_first_of(WANTED)), OfMany(_first_of(_WANTED_ELSEWHERE))


def prioritise(tx: Tx, file_id: int, store: str, priority: int) -> None:
    """Have the transfer of a file into a store go before or after others. Repeatable."""
    where = (_TRANSFER.file_id == file_id) & (_TRANSFER.store == store)
    tx.connection.execute(update(schema.transfer).where(where).values(rank=-priority))


class Takeover(msgspec.Struct, frozen=True, kw_only=True):
    """A transfer, the subscription that fetches it from now on, and the priority that it has by that."""

    transfer: int
    subscription: str
    priority: int


def take_over(tx: Tx, takeovers: Sequence[Takeover]) -> None:
    """Give transfers to other subscriptions. Repeatable."""
    alike: dict[tuple[str, int], list[int]] = {}
    for takeover in takeovers:
        alike.setdefault((takeover.subscription, takeover.priority), []).append(takeover.transfer)
    for (subscription, priority), ids in alike.items():
        for some in chunks(ids):
            values = {"subscription": subscription, "rank": -priority}
            tx.connection.execute(update(schema.transfer).where(_TRANSFER.id.in_(some)).values(values))


def queue(connection: Connection, limit: int) -> tuple[list[Queued], list[Queued]]:
    """What is on the wire, and what is wanted after that, in its order: at most so many of each.

    As long as no source was chosen, it is the file's origin.
    """
    on_wire = [Queued(*row) for row in connection.execute(_ON_WIRE, {"limit": limit})]
    return on_wire, [Queued(*row) for row in connection.execute(IN_ORDER, {"limit": limit})]


_QUEUED = select(
    _TRANSFER.id, func.coalesce(_TRANSFER.source, schema.file.c.origin_site, ""), schema.file.c.size_bytes
).outerjoin_from(schema.transfer, schema.file, schema.file.c.id == _TRANSFER.file_id)
_ON_WIRE = _QUEUED.where(_TRANSFER.state.in_([State.RESERVED.value, State.FETCHING.value])).limit(bindparam("limit"))
IN_ORDER = (
    _QUEUED.where(_TRANSFER.state == State.WANTED.value)
    .order_by(_TRANSFER.rank, _TRANSFER.id)
    .limit(bindparam("limit"))
)
