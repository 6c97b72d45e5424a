"""Where the chain of each incarnation ends here, this site's own included."""

from __future__ import annotations

from sqlalchemy import Connection

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.upserts import inserting


def advance(connection: Connection, site: str, epoch: int, incarnation: str, seq: int, segment_hash: str) -> None:
    """Advance the chain to this entry, the last of that segment. It never goes back."""
    row = {"site": site, "incarnation": incarnation, "epoch": epoch, "seq": seq, "hash": segment_hash}
    connection.execute(_ADVANCE(connection), row)


_ADVANCE = inserting(
    schema.cursor,
    lambda insert: insert.on_conflict_do_update(
        index_elements=["site", "incarnation"],
        set_={column: insert.excluded[column] for column in ("epoch", "seq", "hash")},
        where=insert.excluded.seq > schema.cursor.c.seq,
    ),
)
