"""Operations on transfers and batches. Every change of state goes through ``protocol.transfer.step``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update
from sqlalchemy import Row as SqlRow

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.statements import chunks, expanding, inserting
from librarian_daemon.catalog.writer import Tx
from librarian_protocol.digests import Digest
from librarian_protocol.entries import (
    AdapterOffer,
    InstanceDoubted,
    TransferParked,
    TransferResumed,
    Unit,
)
from librarian_protocol.errors import InvalidTransition
from librarian_protocol.names import Name, SiteName
from librarian_protocol.transfer import (
    LINK,
    POLICIES,
    Command,
    Event,
    Reason,
    State,
    Transfer,
    step,
)


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


class Owed(msgspec.Struct, frozen=True, kw_only=True):
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


def row_of(row: Any) -> Row:
    """A row of ``transfer``."""
    return Row(
        transfer=Transfer(
            id=row.id,
            state=State(row.state),
            reason=Reason(row.reason) if row.reason else None,
            attempts=row.attempts,
            strike=Reason(row.strike) if row.strike else None,
            strikes=row.strikes,
            next_try_s=row.next_try_s,
            source=SiteName(row.source) if row.source else None,
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
    )


def _owed(rows: Sequence[SqlRow[Any]]) -> list[Owed]:
    return [
        Owed(
            row=row_of(row),
            name=Name(row.name),
            digest=Digest(row.digest),
            size_bytes=row.size_bytes,
            unit=Unit(row.unit),
        )
        for row in rows
    ]


_OWED = select(
    schema.transfer, schema.file.c.name, schema.file.c.digest, schema.file.c.size_bytes, schema.file.c.unit
).join(schema.file, schema.file.c.id == schema.transfer.c.file_id)
_TRANSFER = schema.transfer.c
_IDS = expanding("ids")


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """A transfer to make."""

    file_id: int
    store: str
    subscription: str


def create(tx: Tx, wishes: Sequence[Wish]) -> None:
    """New transfers in state ``wanted``. Repeatable: there is one row for each (file, store)."""
    rows = [
        {
            "file_id": wish.file_id,
            "store": wish.store,
            "state": State.WANTED.value,
            "message": "",
            "attempts": 0,
            "strikes": 0,
            "subscription": wish.subscription,
            "created_at": tx.now,
            "changed_at": tx.now,
        }
        for wish in wishes
    ]
    if rows:
        tx.connection.execute(_CREATE(tx.connection), rows)


_CREATE = inserting(schema.transfer, lambda insert: insert.on_conflict_do_nothing())


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """One event for one transfer."""

    owed: Owed
    event: Event
    message: str = ""
    #: The batch that the transfer is in afterwards, and its adapter.
    batch: str | None = None
    adapter: str | None = None
    #: Why this adapter; as it was where "".
    chosen: str = ""


def take(tx: Tx, moves: Sequence[Move], now_s: float) -> dict[int, Transfer]:
    """Step the transfers and do what the machine commands, in this transaction.

    States are read again here: what the caller saw may have changed since. A transfer for which the table has no
    row (it was cancelled meanwhile, say) is left as it is and is missing from the answer.
    """
    taken: dict[int, Transfer] = {}
    for group in chunks(moves):
        rows = tx.connection.execute(_TRANSFERS, {"ids": [move.owed.id for move in group]})
        known = {row.id: row_of(row) for row in rows.all()}
        current = {id_: row.transfer for id_, row in known.items()}
        changes: list[dict[str, Any]] = []
        tells: list[tuple[Move, Transfer, Transfer, tuple[Command, ...]]] = []
        for move in group:
            before = current[move.owed.id]
            try:
                after, commands = step(before, move.event, now_s)
            except InvalidTransition:
                continue
            taken[after.id] = current[after.id] = after
            changes.append(_change(known[after.id], after, move, tx.now))
            if commands:
                tells.append((move, before, after, commands))
        if changes:
            tx.connection.execute(_UPDATE, changes)
        for move, before, after, commands in tells:
            for command in commands:
                _tell(tx, move.owed, before, after, command, move.message)
    return taken


_TRANSFERS = select(schema.transfer).where(_TRANSFER.id.in_(_IDS))
_COLUMNS = (
    "state",
    "reason",
    "attempts",
    "strike",
    "strikes",
    "next_try_s",
    "source",
    "message",
    "changed_at",
    "batch",
    "adapter",
    "chosen",
)
_UPDATE = (
    update(schema.transfer)
    .where(schema.transfer.c.id == bindparam("the_id"))
    .values({column: bindparam(f"new_{column}") for column in _COLUMNS})
)


def _change(before: Row, after: Transfer, move: Move, now: str) -> dict[str, Any]:
    return {
        "the_id": after.id,
        "new_state": after.state.value,
        "new_reason": after.reason and after.reason.value,
        "new_attempts": after.attempts,
        "new_strike": after.strike and after.strike.value,
        "new_strikes": after.strikes,
        "new_next_try_s": after.next_try_s,
        "new_source": after.source and str(after.source),
        "new_message": move.message,
        "new_changed_at": now,
        "new_batch": move.batch,
        "new_adapter": move.adapter or before.adapter,
        "new_chosen": move.chosen or before.chosen,
    }


def _tell(tx: Tx, owed: Owed, before: Transfer, after: Transfer, command: Command, message: str) -> None:
    facts: dict[str, Any] = {"name": owed.name, "digest": owed.digest, "size_bytes": owed.size_bytes, "unit": owed.unit}
    if command is Command.TELL_PARKED:
        assert after.reason is not None
        tx.say(
            TransferParked(
                **facts,
                store=owed.row.store,
                source_site=before.source,
                reason=after.reason.value,
                message=message[:1024],
            )
        )
    elif command is Command.TELL_RESUMED:
        tx.say(TransferResumed(**facts, store=owed.row.store))
    else:
        _doubt(tx, owed, before.source, message)


def _doubt(tx: Tx, owed: Owed, source: SiteName | None, message: str) -> None:
    """Complain of every available instance of the source: it does not say from which store it served us."""
    instance = schema.instance.c
    rows = tx.connection.execute(
        select(schema.instance).where(
            instance.file_id == owed.row.file_id, instance.site == str(source), instance.state == "available"
        )
    ).all()
    for row in rows:
        tx.say(
            InstanceDoubted(
                name=owed.name,
                digest=owed.digest,
                size_bytes=owed.size_bytes,
                unit=owed.unit,
                store=row.store,
                owner=SiteName(row.site),
                reason=message[:1024],
                epoch=row.epoch,
                incarnation=row.incarnation,
                entry_seq=row.seq,
            )
        )


def wanted_now(connection: Connection, limit: int, after: int = 0) -> list[Owed]:
    """The oldest transfers in state ``wanted``, behind a number, but for those that a batch elsewhere is to bring."""
    return _owed(connection.execute(_WANTED, {"after": after, "limit": limit}).all())


_WANTED = (
    _OWED.where(_TRANSFER.state == State.WANTED.value, _TRANSFER.batch.is_(None), _TRANSFER.id > bindparam("after"))
    .order_by(_TRANSFER.id)
    .limit(bindparam("limit"))
)


def all_cancelled(connection: Connection, ids: Sequence[int]) -> bool:
    """Whether nobody wants any of these transfers any longer."""
    transfer = schema.transfer.c
    return not any(
        connection.scalar(select(func.count()).where(transfer.id.in_(page), transfer.state != State.CANCELLED.value))
        for page in chunks(ids)
    )


def due(connection: Connection, now_s: float, limit: int) -> list[Owed]:
    """Transfers that have waited long enough."""
    return _owed(connection.execute(_DUE, {"now_s": now_s, "limit": limit}).all())


_DUE = (
    _OWED.where(
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


def by_id(connection: Connection, transfer_id: int) -> Owed | None:
    """One transfer."""
    return next(iter(_owed(connection.execute(_OWED.where(_TRANSFER.id == transfer_id)).all())), None)


def by_ids(connection: Connection, ids: Sequence[int]) -> list[Owed]:
    """Several, in the order of their numbers."""
    found: list[Owed] = []
    for page in chunks(ids):
        found += _owed(connection.execute(_OWED_BY_ID, {"ids": page}).all())
    return found


_OWED_BY_ID = _OWED.where(_TRANSFER.id.in_(_IDS)).order_by(_TRANSFER.id)


def restart(tx: Tx) -> int:
    """At a start: what adapters held is gone. Live transfers begin again; says how many.

    Batches end, but for those with a ticket: their transfers remember them (``of_batch``), and go on with it.
    """
    transfer = schema.transfer.c
    busy = [State.RESERVED.value, State.FETCHING.value, State.LANDED.value, State.WAITING.value]
    # One statement for all of them: `step` with Restart gives `wanted` for each of these states.
    done = tx.connection.execute(
        update(schema.transfer)
        .where(transfer.state.in_(busy))
        .values(state=State.WANTED.value, reason=None, next_try_s=None, message="")
    )
    batch = schema.batch.c
    tx.connection.execute(delete(schema.batch).where(batch.ticket.is_(None)))
    tx.connection.execute(
        update(schema.transfer)
        .where(transfer.batch.is_not(None), transfer.batch.not_in(select(batch.id)))
        .values(batch=None)
    )
    return done.rowcount


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


def of_batch(connection: Connection, batch_id: str) -> list[Owed]:
    """Transfers that the batch is to bring and that are not ended, in the order of their numbers."""
    transfer = schema.transfer.c
    ended = [State.STORED.value, State.CANCELLED.value]
    query = _OWED.where(transfer.batch == batch_id, transfer.state.not_in(ended)).order_by(transfer.id)
    return _owed(connection.execute(query).all())


def live_keys(connection: Connection, store: str) -> frozenset[str]:
    """Staging keys of transfers that will go on in a store."""
    transfer = schema.transfer.c
    ended = [State.STORED.value, State.CANCELLED.value]
    rows = connection.scalars(select(transfer.id).where(transfer.store == store, transfer.state.not_in(ended)))
    batches = connection.scalars(select(schema.batch.c.id).where(schema.batch.c.ticket.is_not(None)))
    return frozenset([key for one in rows for key in (staging_key(one), manifest_key(one))] + list(batches))


def staging_key(transfer_id: int) -> str:
    """Where a transfer's bytes are staged: the same at every attempt, so that each goes on where the last ended."""
    return f"t{transfer_id}"


_STAGING_KEY = re.compile(r"t[0-9]+(-manifest)?")


def is_staging_key(key: str) -> bool:
    """Whether a key in staging is named after a transfer."""
    return _STAGING_KEY.fullmatch(key) is not None


def manifest_key(transfer_id: int) -> str:
    """Where a book's manifest is staged."""
    return f"{staging_key(transfer_id)}-manifest"


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
    """A source whose link was down answers again: what waits for that is due now; says how many."""
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
    """The adapter is done with it; what it did not bring begins anew. Idempotent."""
    tx.connection.execute(_END_BATCH, {"this": batch_id})
    tx.connection.execute(_LEAVE_BATCH, {"this": batch_id})


_END_BATCH = delete(schema.batch).where(schema.batch.c.id == bindparam("this"))
_LEAVE_BATCH = (
    update(schema.transfer)
    .where(_TRANSFER.state == State.WANTED.value, _TRANSFER.batch == bindparam("this"))
    .values(batch=None)
)


def page_of(connection: Connection, *, state: str | None, before: int | None, limit: int) -> list[Owed]:
    """Transfers, newest first."""
    transfer = schema.transfer.c
    query = _OWED
    if state is not None:
        query = query.where(transfer.state == state)
    if before is not None:
        query = query.where(transfer.id < before)
    return _owed(connection.execute(query.order_by(transfer.id.desc()).limit(limit)).all())


def of_file(connection: Connection, file_id: int) -> list[Owed]:
    """Transfers of one file into stores of this site."""
    transfer = schema.transfer.c
    return _owed(connection.execute(_OWED.where(transfer.file_id == file_id).order_by(transfer.id)).all())


def hint_for(row: Row) -> str:
    """What the operator does next about a transfer's reason."""
    return POLICIES[row.transfer.reason].hint if row.transfer.reason else ""
