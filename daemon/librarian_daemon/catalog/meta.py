"""Local facts of a catalog, by their keys."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.upserts import replacing

#: Made once: it is the statement that is executed most often.
_META = select(schema.meta.c.value).where(schema.meta.c.key == bindparam("wanted"))
_LOCKED_META = _META.with_for_update(read=True)


def get_meta(connection: Connection, key: str) -> str | None:
    """A local fact by its key."""
    return connection.scalar(_META, {"wanted": key})


def get_locked_meta(connection: Connection, key: str) -> str | None:
    """The same; nobody else changes it before this transaction ends."""
    return connection.scalar(_LOCKED_META, {"wanted": key})


_PUT_META = replacing(schema.meta, "key")


def put_meta(connection: Connection, key: str, value: str) -> None:
    """Write a local fact. Idempotent."""
    connection.execute(_PUT_META(connection), {"key": key, "value": value})
