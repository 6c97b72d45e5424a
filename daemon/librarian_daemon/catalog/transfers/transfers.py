"""Operations on transfers and batches. Every change of state goes through ``protocol.transfer.step``."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Connection,
    Integer,
    bindparam,
    delete,
    exists,
    func,
    insert,
    select,
    tuple_,
    update,
)

from librarian_daemon.catalog import schema, statements
from librarian_daemon.catalog.committer import Tx
from librarian_daemon.catalog.upserts import chunks, expanding
from librarian_daemon.ports.staging_keys import transfer_keys
from librarian_protocol.digests import Digest
from librarian_protocol.display import safe
from librarian_protocol.entries import (
    AdapterOffer,
    InstanceDoubted,
    TransferParked,
    TransferResumed,
    Unit,
)
from librarian_protocol.errors import InvalidTransition
from librarian_protocol.names import Name, SiteName
from librarian_protocol.priorities import MOST, Queued
from librarian_protocol.transfer import LINK, POLICIES, Command, Event, Reason, Restart, State, Step, Transfer, step
from librarian_protocol.wanted import InstanceState

#: Characters of a reason in a journal.
MAX_SAID = 1024


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


#: Before all that is wanted.
FIRST = (-MOST - 1, 0)


def row_of(row: Any) -> Row:
    """A row of ``transfer``."""
    return Row(
        transfer=_machine(
            row.id, row.state, row.reason, row.attempts, row.strike, row.strikes, row.next_try_s, row.source
        ),
        file_id=row.file_id,
        store=row.store,
        message=row.message,
        adapter=row.adapter,
        batch=row.batch,
        subscription=row.subscription,
        created_at=row.created_at,
        changed_at=row.changed_at,
        chosen=row.chosen,
        priority=-row.rank,
    )


def _views(rows: Sequence[Any]) -> list[TransferView]:
    return [_view(*row) for row in rows]


def _view(
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
    *file: Any,
) -> TransferView:
    """From the columns of ``transfer`` in their order, and those of the file."""
    name, digest, size_bytes, unit = file
    row = Row(
        transfer=_machine(id_, state, reason, attempts, strike, strikes, next_try_s, source),
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
    return TransferView(row=row, name=Name(name), digest=Digest(digest), size_bytes=size_bytes, unit=_UNITS[unit])


_VIEW = select(
    schema.transfer, schema.file.c.name, schema.file.c.digest, schema.file.c.size_bytes, schema.file.c.unit
).join(schema.file, schema.file.c.id == schema.transfer.c.file_id)
_TRANSFER = schema.transfer.c
_IDS = expanding("ids")


class NewTransfer(msgspec.Struct, frozen=True, kw_only=True):
    """A transfer to make."""

    file_id: int
    store: str
    subscription: str


def create(tx: Tx, wanted: Sequence[NewTransfer]) -> None:
    """New transfers in state ``wanted``. Repeatable: there is one row for each (file, store)."""
    if wanted:
        rows = [(new.file_id, new.store, new.subscription) for new in wanted]
        statements.NEW_TRANSFERS.run(tx.connection, rows, now=tx.now)


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """One event for one transfer."""

    view: TransferView
    event: Event
    #: Another that follows at once.
    then: Event | None = None
    message: str = ""
    #: The batch that the transfer is in afterwards, and its adapter.
    batch: str | None = None
    adapter: str | None = None
    #: Why this adapter; as it was where "".
    chosen: str = ""


def apply_transitions(tx: Tx, transitions: Sequence[Transition], now_s: float) -> dict[int, Transfer]:
    """Step the transfers and do what the machine commands, in this transaction.

    States are read again here: what the caller saw may have changed since. A transfer for which the table has no
    row (it was cancelled meanwhile, say) is left as it is and is missing from the answer.
    """
    taken: dict[int, Transfer] = {}
    ids = {transition.view.id for transition in transitions}
    if not ids:
        return taken
    current = {row[0]: _machine(*row) for row in statements.MACHINE.rows(tx.connection, sorted(ids))}
    moves = _Moves(tx)
    tells: list[tuple[Transition, Transfer, Transfer, tuple[Command, ...]]] = []
    for transition in transitions:
        before = current[transition.view.id]
        try:
            after, commands = _stepped(before, transition, now_s)
        except InvalidTransition:
            continue
        taken[after.id] = current[after.id] = after
        moves.add(after, transition)
        if commands:
            tells.append((transition, before, after, commands))
    moves.write()
    for transition, before, after, commands in tells:
        for command in commands:
            _tell(tx, transition.view, before, after, command, transition.message)
    return taken


def _stepped(before: Transfer, transition: Transition, now_s: float) -> Step:
    after, commands = step(before, transition.event, now_s)
    if transition.then is None:
        return after, commands
    last, more = step(after, transition.then, now_s)
    return last, (*commands, *more)


#: Looking a member up is a tenth of what calling its enumeration costs.
_STATES = {state.value: state for state in State}
_REASONS = {reason.value: reason for reason in Reason}
_UNITS = {unit.value: unit for unit in Unit}


def _machine(
    id_: int,
    state: str,
    reason: str | None,
    attempts: int,
    strike: str | None,
    strikes: int,
    next_try_s: float | None,
    source: str | None,
) -> Transfer:
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


class _Moves:
    """Transfers by what is written of them: those of a batch mostly go the same way."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self._ids: dict[tuple[Any, ...], list[int]] = {}
        self._moved: set[int] = set()

    def add(self, after: Transfer, transition: Transition) -> None:
        """A transfer's new state. Steps of one transfer are written in their order."""
        if after.id in self._moved:
            self.write()
        self._moved.add(after.id)
        values = (
            after.state,
            after.reason,
            after.attempts,
            after.strike,
            after.strikes,
            after.next_try_s,
            after.source,
            transition.message,
            transition.batch,
            transition.adapter,
            transition.chosen,
        )
        self._ids.setdefault(values, []).append(after.id)

    def write(self) -> None:
        """Write what was added."""
        for values, ids in self._ids.items():
            state, reason, attempts, strike, strikes, next_try_s, source, message, batch, adapter, chosen = values
            statements.MOVED.run(
                self._tx.connection,
                ids,
                state=state.value,
                reason=reason and reason.value,
                attempts=attempts,
                strike=strike and strike.value,
                strikes=strikes,
                next_try_s=next_try_s,
                source=source and str(source),
                message=message,
                now=self._tx.now,
                batch=batch,
                adapter=adapter or None,
                chosen=chosen,
            )
        self._ids.clear()
        self._moved.clear()


def _tell(tx: Tx, owed: TransferView, before: Transfer, after: Transfer, command: Command, message: str) -> None:
    facts: dict[str, Any] = {"name": owed.name, "digest": owed.digest, "size_bytes": owed.size_bytes, "unit": owed.unit}
    if command is Command.TELL_PARKED:
        assert after.reason is not None
        tx.append(
            TransferParked(
                **facts,
                store=owed.row.store,
                source_site=before.source,
                reason=after.reason.value,
                message=_said(message),
            )
        )
    elif command is Command.TELL_RESUMED:
        tx.append(TransferResumed(**facts, store=owed.row.store))
    else:
        _doubt(tx, owed, before.source, message)


def _doubt(tx: Tx, owed: TransferView, source: SiteName | None, message: str) -> None:
    """Doubt every available instance of the source, since it does not say from which store it served."""
    instance = schema.instance.c
    rows = tx.connection.execute(
        select(schema.instance).where(
            instance.file_id == owed.row.file_id,
            instance.site == str(source),
            instance.state == InstanceState.AVAILABLE,
        )
    ).all()
    for row in rows:
        tx.append(
            InstanceDoubted(
                name=owed.name,
                digest=owed.digest,
                size_bytes=owed.size_bytes,
                unit=owed.unit,
                store=row.store,
                owner=SiteName(row.site),
                reason=_said(message),
                epoch=row.epoch,
                incarnation=row.incarnation,
                entry_seq=row.seq,
            )
        )


def _said(message: str) -> str:
    """The message as it is kept in a journal for good: bounded, and without control sequences for terminals."""
    return safe(message[:MAX_SAID])[:MAX_SAID]


def wanted_now(
    connection: Connection, limit: int, after: tuple[int, int] = FIRST, full: Set[SiteName] = frozenset()
) -> list[TransferView]:
    """Transfers in state ``wanted`` behind a place, in their order, but for those that a batch elsewhere is to bring.

    Transfers whose only sources are in ``full`` are skipped.
    """
    values: dict[str, Any] = {"rank": after[0], "after": after[1], "limit": limit}
    if not full:
        return _views(connection.execute(WANTED, values).all())
    return _views(connection.execute(_WANTED_ELSEWHERE, {**values, "full": sorted(map(str, full))}).all())


WANTED = (
    _VIEW.where(
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


def first_wanted(
    connection: Connection, limit: int, each: int, full: Set[SiteName] = frozenset()
) -> list[TransferView]:
    """Of the first so many of :func:`wanted_now`, the first ``each`` of every origin.

    Others of them can begin only if these cannot.
    """
    values: dict[str, Any] = {"rank": FIRST[0], "after": FIRST[1], "limit": limit, "each": each}
    if not full:
        return _views(connection.execute(_FIRST, values).all())
    return _views(connection.execute(_FIRST_ELSEWHERE, {**values, "full": sorted(map(str, full))}).all())


def _first_of(wanted: Any) -> Any:
    window = wanted.with_only_columns(_TRANSFER.id, _TRANSFER.rank, schema.file.c.origin_site).subquery().c
    order = window.rank, window.id
    place = func.row_number().over(partition_by=window.origin_site, order_by=order)
    placed = select(window.id, place.label("place")).subquery().c
    chosen = select(placed.id).where(placed.place <= bindparam("each"))
    return _VIEW.where(_TRANSFER.id.in_(chosen)).order_by(_TRANSFER.rank, _TRANSFER.id)


_FIRST = _first_of(WANTED)
_FIRST_ELSEWHERE = _first_of(_WANTED_ELSEWHERE)


def prioritise(tx: Tx, file_id: int, store: str, priority: int) -> None:
    """Have the transfer of a file into a store go before or after others. Repeatable."""
    where = (_TRANSFER.file_id == file_id) & (_TRANSFER.store == store)
    tx.connection.execute(update(schema.transfer).where(where).values(rank=-priority))


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


def stopped(connection: Connection, ids: Sequence[int]) -> dict[int, State]:
    """Those of the transfers that were cancelled or paused."""
    if not ids:
        return {}
    return {id_: _STATES[state] for id_, state in statements.STOPPED.rows(connection, ids)}


def due(connection: Connection, now_s: float, limit: int) -> list[TransferView]:
    """Transfers that have waited long enough."""
    return _views(connection.execute(_DUE, {"now_s": now_s, "limit": limit}).all())


_DUE = (
    _VIEW.where(
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
    return next(iter(_views(connection.execute(_VIEW.where(_TRANSFER.id == transfer_id)).all())), None)


def by_ids(connection: Connection, ids: Sequence[int]) -> list[TransferView]:
    """Several, in the order of their numbers."""
    found: list[TransferView] = []
    for page in chunks(ids):
        found += _views(connection.execute(_OWED_BY_ID, {"ids": page}).all())
    return found


_OWED_BY_ID = _VIEW.where(_TRANSFER.id.in_(_IDS)).order_by(_TRANSFER.id)


def restart(tx: Tx) -> int:
    """At a start: what adapters held is gone, and live transfers begin again. Returns how many.

    Batches end, but for those with a ticket: their transfers remember them (``of_batch``), and go on with it.
    """
    transfer = schema.transfer.c
    done = 0
    for before, after in _RESTARTED:
        rows = tx.connection.execute(
            update(schema.transfer)
            .where(transfer.state == before.state.value)
            .values(state=after.state.value, reason=after.reason, next_try_s=after.next_try_s, message="")
        )
        done += rows.rowcount
    batch = schema.batch.c
    tx.connection.execute(delete(schema.batch).where(batch.ticket.is_(None)))
    tx.connection.execute(
        update(schema.transfer)
        .where(transfer.batch.is_not(None), transfer.batch.not_in(select(batch.id)))
        .values(batch=None)
    )
    return done


#: A transfer in each state that a restart changes, before and after.
_RESTARTED = [
    (before, after)
    for before in (Transfer(id=0, state=state) for state in State)
    if (after := step(before, Restart(), 0.0)[0]).state is not before.state
]


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A batch that goes on elsewhere, by its ticket."""

    id: str
    source: SiteName
    source_store: str
    offer: AdapterOffer
    ticket: bytes

    @property
    def adapter(self) -> str:
        """The adapter's name."""
        return self.offer.name


_OFFER = msgspec.json.Decoder(AdapterOffer)


def held(connection: Connection) -> list[Held]:
    """All batches with tickets, oldest first."""
    rows = connection.execute(_HELD)
    return [
        Held(
            id=row.id,
            source=SiteName(row.source),
            source_store=row.source_store,
            offer=_OFFER.decode(row.offer),
            ticket=row.ticket,
        )
        for row in rows
    ]


_HELD = (
    select(schema.batch)
    .where(schema.batch.c.ticket.is_not(None))
    .order_by(schema.batch.c.started_at, schema.batch.c.id)
)


def of_batch(connection: Connection, batch_id: str) -> list[TransferView]:
    """Transfers that the batch is to bring and that are not ended, in the order of their numbers."""
    transfer = schema.transfer.c
    ended = [State.STORED.value, State.CANCELLED.value]
    query = _VIEW.where(transfer.batch == batch_id, transfer.state.not_in(ended)).order_by(transfer.id)
    return _views(connection.execute(query).all())


def live_keys(connection: Connection, store: str) -> frozenset[str]:
    """Staging keys of transfers that will go on in a store."""
    transfer = schema.transfer.c
    ended = [State.STORED.value, State.CANCELLED.value]
    rows = connection.scalars(select(transfer.id).where(transfer.store == store, transfer.state.not_in(ended)))
    batches = connection.scalars(select(schema.batch.c.id).where(schema.batch.c.ticket.is_not(None)))
    return frozenset([key for id_ in rows for key in transfer_keys(id_)] + list(batches))


def open_batch(tx: Tx, batch_id: str, source: SiteName, source_store: str, offer: AdapterOffer) -> None:
    """An adapter takes a batch."""
    tx.connection.execute(
        _OPEN_BATCH,
        {
            "id": batch_id,
            "source": str(source),
            "adapter": offer.name,
            "source_store": source_store,
            "offer": msgspec.json.encode(offer).decode(),
            "ticket": None,
            "started_at": tx.now,
        },
    )


_OPEN_BATCH = insert(schema.batch)


def save_ticket(tx: Tx, batch_id: str, ticket: bytes) -> None:
    """Keep what an adapter needs to find its work again."""
    tx.connection.execute(update(schema.batch).where(schema.batch.c.id == batch_id).values(ticket=ticket))


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


def close_batch(tx: Tx, batch_id: str) -> None:
    """Close a batch that the adapter has ended. Transfers that it did not bring start again. Idempotent."""
    tx.connection.execute(_END_BATCH, {"this": batch_id})
    tx.connection.execute(_LEAVE_BATCH, {"this": batch_id})


_END_BATCH = delete(schema.batch).where(schema.batch.c.id == bindparam("this"))
_LEAVE_BATCH = (
    update(schema.transfer)
    .where(_TRANSFER.state == State.WANTED.value, _TRANSFER.batch == bindparam("this"))
    .values(batch=None)
)


def page_of(connection: Connection, *, state: str | None, before: int | None, limit: int) -> list[TransferView]:
    """Transfers, newest first."""
    transfer = schema.transfer.c
    query = _VIEW
    if state is not None:
        query = query.where(transfer.state == state)
    if before is not None:
        query = query.where(transfer.id < before)
    return _views(connection.execute(query.order_by(transfer.id.desc()).limit(limit)).all())


def of_file(connection: Connection, file_id: int) -> list[TransferView]:
    """Transfers of one file into stores of this site."""
    transfer = schema.transfer.c
    return _views(connection.execute(_VIEW.where(transfer.file_id == file_id).order_by(transfer.id)).all())


def hint_for(row: Row) -> str:
    """What the operator does next about a transfer's reason."""
    return POLICIES[row.transfer.reason].hint if row.transfer.reason else ""
