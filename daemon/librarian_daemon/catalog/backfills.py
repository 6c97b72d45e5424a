"""Makes the planner try a subscription on all files that are already known."""

from __future__ import annotations

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.upserts import upsert


def start(tx: Tx, subscription: str) -> None:
    """Make the planner try the subscription on all files that are already known, from the first one."""
    statement = upsert(tx.connection, schema.backfill)
    tx.connection.execute(
        statement.on_conflict_do_update(index_elements=["subscription"], set_={"after_file": 0}),
        {"subscription": subscription, "after_file": 0},
    )
