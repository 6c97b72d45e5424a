"""What people read on a terminal: :mod:`librarian_protocol.shown`, as of now."""

from __future__ import annotations

from datetime import UTC, datetime

from librarian_protocol import shown
from librarian_protocol.shown import count, digest, duration, moment, safe

__all__ = ["ago", "count", "digest", "duration", "moment", "old", "safe", "size"]


def size(size_bytes: int) -> str:
    """``18.2 GiB``."""
    import humanize

    return humanize.naturalsize(size_bytes, binary=True)


def ago(at: str | None) -> str:
    """How long ago an RFC 3339 time was; ``never`` for None."""
    return shown.ago(at, datetime.now(UTC))


def old(at: str) -> str:
    """How long ago figures were counted; "" where that was just now."""
    return shown.old(at, datetime.now(UTC))
