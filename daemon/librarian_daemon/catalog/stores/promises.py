"""What is promised of the room of stores: bytes that transfers, and intake, are about to write."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, func, select

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.upserts import chunks, replacing
from librarian_protocol.transfer import RESERVING

_TRANSFER = schema.transfer.c
_PROMISE = schema.promise.c


def promised(connection: Connection) -> dict[str, int]:
    """Bytes by store. Those that are staged already are counted, too."""
    found: dict[str, int] = {}
    for statement in (_BY_TRANSFERS, _OTHERWISE):
        for store, size_bytes in connection.execute(statement):
            found[store] = found.get(store, 0) + int(size_bytes)
    return found


_BY_TRANSFERS = (
    select(_TRANSFER.store, func.sum(schema.file.c.size_bytes))
    .join_from(schema.transfer, schema.file, schema.file.c.id == _TRANSFER.file_id)
    .where(_TRANSFER.state.in_(sorted(state.value for state in RESERVING)))
    .group_by(_TRANSFER.store)
)
_OTHERWISE = select(_PROMISE.store, func.sum(_PROMISE.size_bytes)).group_by(_PROMISE.store)


def promise(tx: Tx, id_: str, store: str, size_bytes: int, room_bytes: int, before: int) -> bool:
    """Promise so much to a claim or an upload, in place of what its id had. False, and nothing, if it does not fit.

    ``room_bytes`` was left when ``before`` was promised of that store.
    """
    release(tx, [id_])
    if size_bytes > room_bytes - max(promised(tx.connection).get(store, 0) - before, 0):
        return False
    tx.connection.execute(_PUT(tx.connection), {"id": id_, "store": store, "size_bytes": size_bytes})
    return True


_PUT = replacing(schema.promise, "id")


def release(tx: Tx, ids: Sequence[str]) -> None:
    """It is written, or given up. Repeatable."""
    for some in chunks(ids):
        tx.connection.execute(delete(schema.promise).where(_PROMISE.id.in_(some)))


def begin(tx: Tx) -> None:
    """A start: what was claimed is claimed again."""
    tx.connection.execute(delete(schema.promise))
