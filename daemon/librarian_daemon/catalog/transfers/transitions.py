"""Changes of transfers' states. Every one goes through ``protocol.transfer.step``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    select,
)

from librarian_daemon.catalog import schema, statements
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.transfers import transfers
from librarian_daemon.catalog.transfers.transfers import TransferView
from librarian_protocol.display import safe
from librarian_protocol.entries import (
    InstanceDoubted,
    TransferParked,
    TransferResumed,
)
from librarian_protocol.errors import InvalidTransition
from librarian_protocol.names import SiteName
from librarian_protocol.transfer import Command, Event, Reason, Retry, State, Transfer, step
from librarian_protocol.wanted import InstanceState

#: Characters of a reason in a journal.
MAX_SAID = 1024


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """One event for one transfer."""

    view: TransferView
    event: Event
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
    current = {row[0]: transfers.machine(*row) for row in statements.MACHINE.rows(tx.connection, sorted(ids))}
    moves = _Moves(tx)
    tells: list[tuple[Transition, Transfer, Transfer, tuple[Command, ...]]] = []
    for transition in transitions:
        before = current[transition.view.id]
        try:
            after, commands = step(before, transition.event, now_s)
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


def retry_too_large(tx: Tx, most_bytes: int, now_s: float) -> None:
    """Try those again that were larger than any store could hold, and are so no longer."""
    transfer = schema.transfer.c
    parked = transfers.VIEW.where(
        transfer.state == State.PARKED.value,
        transfer.reason == Reason.TOO_LARGE.value,
        schema.file.c.size_bytes <= most_bytes,
    )
    fitting = transfers.views(tx.connection.execute(parked).all())
    apply_transitions(tx, [Transition(view=view, event=Retry()) for view in fitting], now_s)


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
