"""What waits for the bus, in one read: segments of the outbox, and letters."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from librarian_daemon.catalog.journal import mail, segments
from librarian_daemon.catalog.journal.mail import QueuedMail
from librarian_daemon.catalog.transaction import OutgoingSegment


def outgoing(
    connection: Connection, limit: int, passed: Sequence[int]
) -> tuple[list[OutgoingSegment], list[QueuedMail]]:
    """The oldest segments, without those at ``passed``, and the oldest letters, in order; of each at most ``limit``."""
    return segments.outgoing(connection, limit, passed), mail.waiting(connection, limit)
