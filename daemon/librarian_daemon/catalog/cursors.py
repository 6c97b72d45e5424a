"""Where the chain of each incarnation ends here, this site's own included."""

from __future__ import annotations

from sqlalchemy import Connection

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.statements import insert


def advance(connection: Connection, site: str, epoch: int, incarnation: str, seq: int, segment_hash: str) -> None:
    """The chain goes on to this entry, the last of that segment. Never back."""
    statement = insert(connection, schema.cursor)
    new = statement.excluded
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["site", "incarnation"],
            set_={"epoch": new.epoch, "seq": new.seq, "hash": new.hash},
            where=new.seq > schema.cursor.c.seq,
        ),
        {"site": site, "incarnation": incarnation, "epoch": epoch, "seq": seq, "hash": segment_hash},
    )
