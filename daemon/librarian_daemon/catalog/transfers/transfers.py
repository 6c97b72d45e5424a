"""Transfers as they stand in the catalog. Their states change in ``transitions.py``, their order is ``order.py``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    Connection,
    bindparam,
    func,
    select,
    update,
)

from librarian_daemon.catalog import schema, statements
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.upserts import chunks, expanding
from librarian_protocol.digests import Digest
from librarian_protocol.entries import (
    Unit,
)
from librarian_protocol.names import Name, SiteName
from librarian_protocol.transfer import LINK, POLICIES, STORE, Reason, State, Transfer


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A transfer as it stands in the catalog."""

    transfer: Transfer
    file_id: int
    store: str
    message: str
    adapter: str | None
    batch: str | None
    subscription: str
    created_at: str
    changed_at: str
    #: By which adapter, and why; "" where none was chosen yet.
    chosen: str = ""
    priority: int = 0


class TransferView(msgspec.Struct, frozen=True, kw_only=True):
    """A transfer with the file that it brings."""

    row: Row
    name: Name
    digest: Digest
    size_bytes: int
    unit: Unit

    @property
    def id(self) -> int:
        """The transfer's number."""
        return self.row.transfer.id

    @property
    def place(self) -> tuple[int, int]:
        """Where it stands among what is wanted."""
        return -self.row.priority, self.id


def row_of(
    id_: int,
    file_id: int,
    store: str,
    state: str,
    reason: str | None,
    message: str,
    attempts: int,
    strike: str | None,
    strikes: int,
    next_try_s: float | None,
    source: str | None,
    adapter: str | None,
    batch: str | None,
    subscription: str,
    chosen: str,
    rank: int,
    created_at: str,
    changed_at: str,
) -> Row:
    """From the columns of ``transfer`` in their order."""
    return Row(
        transfer=machine(id_, state, reason, attempts, strike, strikes, next_try_s, source),
        file_id=file_id,
        store=store,
        message=message,
        adapter=adapter,
        batch=batch,
        subscription=subscription,
        created_at=created_at,
        changed_at=changed_at,
        chosen=chosen,
        priority=-rank,
    )


def views(rows: Sequence[Any]) -> list[TransferView]:
    """From rows of :data:`VIEW`."""
    return [_view(*row) for row in rows]


def _view(*columns: Any) -> TransferView:
    *transfer, name, digest, size_bytes, unit = columns
    return TransferView(
        row=row_of(*transfer), name=Name(name), digest=Digest(digest), size_bytes=size_bytes, unit=schema.UNITS[unit]
    )


#: All of a transfer, and its file.
VIEW = select(
    schema.transfer, schema.file.c.name, schema.file.c.digest, schema.file.c.size_bytes, schema.file.c.unit
).join(schema.file, schema.file.c.id == schema.transfer.c.file_id)
_TRANSFER = schema.transfer.c
_IDS = expanding("ids")


class NewTransfer(msgspec.Struct, frozen=True, kw_only=True):
    """A transfer to make."""

    file_id: int
    store: str
    subscription: str
    #: Only if the file still has this change number; None: if there is the file.
    change: int | None = None
    #: As of :mod:`librarian_protocol.priorities`.
    priority: int = 0


def create(tx: Tx, wanted: Sequence[NewTransfer]) -> None:
    """New transfers in state ``wanted``. Repeatable: there is one row for each (file, store)."""
    alike: dict[tuple[str, str, int], list[tuple[int, int | None]]] = {}
    for new in wanted:
        alike.setdefault((new.store, new.subscription, new.priority), []).append((new.file_id, new.change))
    for (store, subscription, priority), rows in alike.items():
        values = {"store": store, "subscription": subscription, "rank": -priority}
        statements.NEW_TRANSFERS.run(tx.connection, rows, **values, now=tx.now)


#: Looking a member up is a tenth of what calling its enumeration costs.
_STATES = {state.value: state for state in State}
_REASONS = {reason.value: reason for reason in Reason}


def machine(
    id_: int,
    state: str,
    reason: str | None,
    attempts: int,
    strike: str | None,
    strikes: int,
    next_try_s: float | None,
    source: str | None,
) -> Transfer:
    """From those columns on which the machine decides."""
    return Transfer(
        id=id_,
        state=_STATES[state],
        reason=_REASONS[reason] if reason else None,
        attempts=attempts,
        strike=_REASONS[strike] if strike else None,
        strikes=strikes,
        next_try_s=next_try_s,
        source=SiteName(source) if source else None,
    )


def stopped(connection: Connection, ids: Sequence[int]) -> dict[int, State]:
    """Those of the transfers that were cancelled or paused."""
    if not ids:
        return {}
    return {id_: _STATES[state] for id_, state in statements.STOPPED.rows(connection, ids)}


def due(connection: Connection, now_s: float, limit: int) -> list[TransferView]:
    """Transfers that have waited long enough."""
    return views(connection.execute(_DUE, {"now_s": now_s, "limit": limit}).all())


_DUE = (
    VIEW.where(
        _TRANSFER.state == State.WAITING.value,
        (_TRANSFER.next_try_s.is_(None)) | (_TRANSFER.next_try_s <= bindparam("now_s")),
    )
    .order_by(_TRANSFER.next_try_s)
    .limit(bindparam("limit"))
)


def next_due_s(connection: Connection) -> float | None:
    """When the next waiting transfer is due; None where none waits."""
    soonest: float | None = connection.scalar(_SOONEST)
    return soonest


_SOONEST = select(func.min(_TRANSFER.next_try_s)).where(_TRANSFER.state == State.WAITING.value)


def by_id(connection: Connection, transfer_id: int) -> TransferView | None:
    """One transfer."""
    return next(iter(views(connection.execute(VIEW.where(_TRANSFER.id == transfer_id)).all())), None)


def by_ids(connection: Connection, ids: Sequence[int]) -> list[TransferView]:
    """Several, in the order of their numbers."""
    found: list[TransferView] = []
    for page in chunks(ids):
        found += views(connection.execute(_OWED_BY_ID, {"ids": page}).all())
    return found


_OWED_BY_ID = VIEW.where(_TRANSFER.id.in_(_IDS)).order_by(_TRANSFER.id)


def hasten(tx: Tx, source: SiteName, now_s: float) -> int:
    """A source whose link was down answers again: transfers that wait for it are due now. Returns how many."""
    transfer = schema.transfer.c
    done = tx.connection.execute(
        update(schema.transfer)
        .where(
            transfer.state == State.WAITING.value,
            transfer.source == str(source),
            transfer.reason.in_([reason.value for reason in LINK]),
            transfer.next_try_s > now_s,
        )
        .values(next_try_s=now_s)
    )
    return done.rowcount


def hasten_for_stores(tx: Tx, now_s: float) -> int:
    """A store may take more than before: transfers that wait for one are due now. Returns how many."""
    transfer = schema.transfer.c
    done = tx.connection.execute(
        update(schema.transfer)
        .where(
            transfer.state == State.WAITING.value,
            transfer.reason.in_(sorted(reason.value for reason in STORE)),
            transfer.next_try_s > now_s,
        )
        .values(next_try_s=now_s)
    )
    return done.rowcount


def wait_for_stores(connection: Connection) -> bool:
    """Whether a transfer waits for a store."""
    return connection.execute(_WAITS_FOR_STORE).first() is not None


_WAITS_FOR_STORE = (
    select(_TRANSFER.id)
    .where(
        _TRANSFER.state == State.WAITING.value,
        _TRANSFER.reason.in_(sorted(reason.value for reason in STORE)),
    )
    .limit(1)
)


def page_of(connection: Connection, *, state: str | None, before: int | None, limit: int) -> list[TransferView]:
    """Transfers, newest first."""
    transfer = schema.transfer.c
    query = VIEW
    if state is not None:
        query = query.where(transfer.state == state)
    if before is not None:
        query = query.where(transfer.id < before)
    return views(connection.execute(query.order_by(transfer.id.desc()).limit(limit)).all())


def of_file(connection: Connection, file_id: int) -> list[TransferView]:
    """Transfers of one file into stores of this site."""
    transfer = schema.transfer.c
    return views(connection.execute(VIEW.where(transfer.file_id == file_id).order_by(transfer.id)).all())


def hint_for(row: Row) -> str:
    """What the operator does next about a transfer's reason."""
    return POLICIES[row.transfer.reason].hint if row.transfer.reason else ""
