"""Transfers that go into another store than they were to, because that one cannot take them now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, delete, func, select, union_all, update

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.upserts import chunks, expanding
from librarian_protocol.names import SiteName
from librarian_protocol.transfer import LIVE, Reason, State
from librarian_protocol.wanted import InstanceState

_TRANSFER = schema.transfer.c
_INSTANCE = schema.instance.c
_LIVE = sorted(state.value for state in LIVE)


class Move(NamedTuple):
    """A wanted transfer, and where it goes instead."""

    transfer: int
    file_id: int
    store: str


def occupied(connection: Connection, site: SiteName, file_ids: Sequence[int]) -> dict[int, set[str]]:
    """By file: stores of this site that have an instance of it, good or bad."""
    found: dict[int, set[str]] = {}
    for ids in chunks(file_ids):
        for file_id, store in connection.execute(_OCCUPIED, {"ids": ids, "mine": str(site)}):
            found.setdefault(file_id, set()).add(store)
    return found


_IDS = expanding("ids")
_OCCUPIED = select(_INSTANCE.file_id, _INSTANCE.store).where(
    _INSTANCE.file_id.in_(_IDS), _INSTANCE.site == bindparam("mine"), _INSTANCE.state != InstanceState.REMOVED
)


def kept_from(connection: Connection, file_ids: Sequence[int]) -> dict[int, set[str]]:
    """By file: stores with a transfer of it that will go on, or that a person cancelled. No other goes there.

    Files with one transfer, which are most, are left out.
    """
    found: dict[int, set[str]] = {}
    several = [id_ for ids in chunks(file_ids) for id_ in connection.scalars(_SEVERAL, {"ids": ids})]
    for ids in chunks(several):
        for file_id, store in connection.execute(_KEPT, {"ids": ids}):
            found.setdefault(file_id, set()).add(store)
    return found


_SEVERAL = (
    select(_TRANSFER.file_id).where(_TRANSFER.file_id.in_(_IDS)).group_by(_TRANSFER.file_id).having(func.count() > 1)
)


_KEPT = union_all(
    select(_TRANSFER.file_id, _TRANSFER.store).where(_TRANSFER.file_id.in_(_IDS), _TRANSFER.state.in_(_LIVE)),
    select(_TRANSFER.file_id, _TRANSFER.store).where(
        _TRANSFER.file_id.in_(_IDS),
        _TRANSFER.state == State.CANCELLED.value,
        _TRANSFER.reason == Reason.BY_PERSON.value,
    ),
)


def move(tx: Tx, wanted: Sequence[Move]) -> set[int]:
    """Have wanted transfers go into other stores. Returns those that do; of the others something changed meanwhile."""
    kept = kept_from(tx.connection, [one.file_id for one in wanted])
    by_store: dict[str, dict[int, int]] = {}
    for one in wanted:
        if one.store not in kept.get(one.file_id, set()):
            by_store.setdefault(one.store, {})[one.transfer] = one.file_id
    return {id_ for store, files in by_store.items() for id_ in _move(tx, store, files)}


def _move(tx: Tx, store: str, files: Mapping[int, int]) -> set[int]:
    """``files`` by transfer."""
    moved: set[int] = set()
    for ids in chunks(files):
        still = select(_TRANSFER.id).where(_TRANSFER.id.in_(ids), _TRANSFER.state == State.WANTED.value)
        going = set(tx.connection.scalars(still))
        if not going:
            continue
        # Of an earlier transfer into that store only its end is left.
        ended = (_TRANSFER.store == store, _TRANSFER.file_id.in_([files[id_] for id_ in going]))
        tx.connection.execute(delete(schema.transfer).where(*ended))
        tx.connection.execute(
            update(schema.transfer).where(_TRANSFER.id.in_(going)).values(store=store, chosen="", changed_at=tx.now)
        )
        moved |= going
    return moved
