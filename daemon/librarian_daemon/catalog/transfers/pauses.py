"""Pauses for maintenance, as they are kept over restarts. Local: no journal tells of them."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, delete, select

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.upserts import replacing
from librarian_protocol.pausing import Pause


def kept(connection: Connection) -> list[Pause]:
    """All of them, also those that are over."""
    rows = connection.execute(select(schema.pause).order_by(schema.pause.c.what))
    return [Pause(**row) for row in rows.mappings()]


def put(tx: Tx, pause: Pause) -> None:
    """Keep it, in place of the one of the same thing. Repeatable."""
    tx.connection.execute(_PUT(tx.connection), msgspec.structs.asdict(pause))


_PUT = replacing(schema.pause, "what")


def remove(tx: Tx, what: str, until: int | None) -> None:
    """Forget it; with ``until``, only the one that ends then. Repeatable."""
    statement = delete(schema.pause).where(schema.pause.c.what == what)
    tx.connection.execute(statement if until is None else statement.where(schema.pause.c.until == until))
