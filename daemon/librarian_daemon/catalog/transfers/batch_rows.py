"""Batches: what an adapter has taken, and what of it goes on after a restart.

The row of a batch names the single files that it brings. So nothing is written when they are placed: a start looks at
their names (``transfers/lander.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import (
    Connection,
    bindparam,
    delete,
    insert,
    select,
    update,
)

from librarian_daemon.catalog import schema, statements
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.transfers import transfers
from librarian_daemon.catalog.transfers.transfers import TransferView
from librarian_daemon.ports.staging_keys import transfer_keys
from librarian_protocol import wire
from librarian_protocol.digests import Digest
from librarian_protocol.entries import AdapterOffer, Unit
from librarian_protocol.names import Name, SiteName
from librarian_protocol.transfer import Restart, State, Transfer, step

_TRANSFER = schema.transfer.c


class Member(msgspec.Struct, frozen=True, array_like=True):
    """A single file that a batch brings."""

    transfer: int
    file_id: int
    name: Name
    digest: Digest
    size_bytes: int


_MEMBERS = wire.decoder(list[Member])


def open_batch(
    tx: Tx, batch_id: str, source: SiteName, source_store: str, offer: AdapterOffer, owed: Sequence[TransferView] = ()
) -> None:
    """An adapter takes a batch. ``owed`` is what it brings, all into one store."""
    members = [
        Member(view.id, view.row.file_id, view.name, view.digest, view.size_bytes)
        for view in owed
        if view.unit is Unit.FILE
    ]
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
            "store": owed[0].row.store if owed else "",
            "members": wire.encode(members) if members else None,
        },
    )


_OPEN_BATCH = insert(schema.batch)


def take(tx: Tx, batch_id: str, source: SiteName, adapter: str, chosen: Mapping[int, str]) -> set[int]:
    """Reserve and start transfers. ``chosen``: why this adapter, by transfer. Returns those that were still wanted."""
    ids: dict[str, list[int]] = {}
    for id_, why in chosen.items():
        ids.setdefault(why, []).append(id_)
    by = {"source": str(source), "now": tx.now, "batch": batch_id, "adapter": adapter}
    taken: set[int] = set()
    for why, some in ids.items():
        count = statements.IN_BATCH.run(tx.connection, some, chosen=why, **by)
        taken.update(some if count == len(some) else going(tx.connection, batch_id, some))
    return taken


def going(connection: Connection, batch_id: str, transfer_ids: Sequence[int]) -> set[int]:
    """Those of the transfers that the batch still fetches: nobody has cancelled or paused them."""
    if not transfer_ids:
        return set()
    return {id_ for (id_,) in statements.GOING.rows(connection, transfer_ids, batch=batch_id)}


def stored(tx: Tx, batch_id: str, transfer_ids: Sequence[int]) -> int:
    """The files of these transfers are at their names. Returns how many of them the batch still fetched until now."""
    if not transfer_ids:
        return 0
    return statements.STORED.run(tx.connection, transfer_ids, now=tx.now, batch=batch_id)


def awaited(connection: Connection, site: SiteName, transfer_ids: Sequence[int]) -> set[int]:
    """Those of the transfers after whose end the planner must look at the file again: something else waits for it."""
    return {id_ for (id_,) in statements.AWAITED.rows(connection, transfer_ids, site=str(site))}


class Placing(msgspec.Struct, frozen=True, kw_only=True):
    """Single files that a batch may be placing."""

    batch: str
    source: SiteName
    members: Sequence[Member]


def placing(connection: Connection, store: str) -> list[Placing]:
    """By batch, the files that it still fetches, or places, in a store."""
    batch = schema.batch.c
    query = select(batch.id, batch.source, batch.members).where(batch.store == store, batch.members.is_not(None))
    found: list[Placing] = []
    for id_, source, members in connection.execute(query).all():
        live = set(connection.scalars(_FETCHING, {"this": id_}))
        mine = [member for member in _MEMBERS.decode(members) if member.transfer in live]
        found.append(Placing(batch=id_, source=SiteName(source), members=mine))
    return found


_FETCHING = select(_TRANSFER.id).where(_TRANSFER.state == State.FETCHING.value, _TRANSFER.batch == bindparam("this"))


def save_ticket(tx: Tx, batch_id: str, ticket: bytes) -> None:
    """Keep what an adapter needs to find its work again."""
    tx.connection.execute(update(schema.batch).where(schema.batch.c.id == batch_id).values(ticket=ticket))


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


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What a round of the replicator begins with, of one moment."""

    #: Transfers that have waited long enough: at most so many as were asked for.
    due: list[TransferView]
    #: Batches with tickets.
    held: list[Held]
    #: When the next waiting transfer is due; None where none waits.
    next_due_s: float | None


def look(connection: Connection, now_s: float, limit: int) -> Look:
    """See :class:`Look`."""
    return Look(
        due=transfers.due(connection, now_s, limit),
        held=held(connection),
        next_due_s=transfers.next_due_s(connection),
    )


def of_batch(connection: Connection, batch_id: str) -> list[TransferView]:
    """Transfers that the batch is to bring and that are not ended, in the order of their numbers."""
    transfer = schema.transfer.c
    ended = [State.STORED.value, State.CANCELLED.value]
    query = transfers.VIEW.where(transfer.batch == batch_id, transfer.state.not_in(ended)).order_by(transfer.id)
    return transfers.views(connection.execute(query).all())


def live_keys(connection: Connection, store: str) -> frozenset[str]:
    """Staging keys of transfers that will go on in a store."""
    transfer = schema.transfer.c
    ended = [State.STORED.value, State.CANCELLED.value]
    rows = connection.scalars(select(transfer.id).where(transfer.store == store, transfer.state.not_in(ended)))
    batches = connection.scalars(select(schema.batch.c.id).where(schema.batch.c.ticket.is_not(None)))
    return frozenset([key for id_ in rows for key in transfer_keys(id_)] + list(batches))


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
