"""Batches: what an adapter has taken, and what of it goes on after a restart."""

from __future__ import annotations

import msgspec
from sqlalchemy import (
    Connection,
    bindparam,
    delete,
    insert,
    select,
    update,
)

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.committer import Tx
from librarian_daemon.catalog.transfers import transfers
from librarian_daemon.catalog.transfers.transfers import TransferView
from librarian_daemon.ports.staging_keys import transfer_keys
from librarian_protocol.entries import (
    AdapterOffer,
)
from librarian_protocol.names import SiteName
from librarian_protocol.transfer import Restart, State, Transfer, step

_TRANSFER = schema.transfer.c


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
