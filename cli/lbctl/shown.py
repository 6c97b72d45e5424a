"""What people read on a terminal: :mod:`librarian_protocol.display`, as of now."""

from __future__ import annotations

from datetime import UTC, datetime

from librarian_protocol import display
from librarian_protocol.display import count, digest, duration, moment, safe

__all__ = ["ago", "count", "digest", "duration", "moment", "old", "rate", "safe", "size"]


def size(size_bytes: int) -> str:
    """``18.2 GiB``."""
    import humanize

    return humanize.naturalsize(size_bytes, binary=True)


def rate(bytes_s: float) -> str:
    """``18.2 MiB/s``; below a kilobyte ``1 B/s``."""
    import humanize

    return f"{display.bytes_short(humanize.naturalsize(round(bytes_s), binary=True))}/s"


def ago(at: str | None) -> str:
    """How long ago an RFC 3339 time was; ``never`` for None."""
    return display.ago(at, datetime.now(UTC))


def old(at: str) -> str:
    """How long ago figures were counted; "" where that was just now."""
    return display.old(at, datetime.now(UTC))
