"""Operations on offers: which globs were set for which peer."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, delete, insert, select

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.transaction import Tx
from librarian_protocol.names import SiteName


def of(connection: Connection, peer: SiteName) -> list[str]:
    """The globs that were set for a peer; none were where empty."""
    return list(connection.scalars(_OF, {"peer": str(peer)}))


_OF = select(schema.offer.c.match).where(schema.offer.c.peer == bindparam("peer")).order_by(schema.offer.c.match)


def every(connection: Connection) -> dict[SiteName, list[str]]:
    """All that were set."""
    offer = schema.offer.c
    found: dict[SiteName, list[str]] = {}
    for row in connection.execute(select(offer.peer, offer.match).order_by(offer.peer, offer.match)):
        found.setdefault(SiteName(row.peer), []).append(row.match)
    return found


def put(tx: Tx, peer: SiteName, globs: Sequence[str]) -> None:
    """Set them, in place of what was. Idempotent."""
    offer = schema.offer
    tx.connection.execute(delete(offer).where(offer.c.peer == str(peer)))
    if globs:
        tx.connection.execute(insert(offer), [{"peer": str(peer), "match": glob} for glob in sorted(set(globs))])
