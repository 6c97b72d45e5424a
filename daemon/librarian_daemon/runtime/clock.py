"""The real clock and the real source of randomness. Everything else gets them through ports."""

from __future__ import annotations

import asyncio
import secrets
import time
from datetime import UTC, datetime


class SystemClock:
    """Wall time for people, CLOCK_BOOTTIME for all delays."""

    def utc(self) -> str:
        """Now as RFC 3339 UTC with microseconds and ``Z``."""
        return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")

    def unix_s(self) -> int:
        """Seconds since 1970."""
        return int(time.time())

    def boottime_s(self) -> float:
        """Seconds on a clock that never jumps while the machine is up, suspends included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    async def sleep(self, seconds: float) -> None:
        """Sleep for that long."""
        await asyncio.sleep(seconds)


class SystemRng:
    """The operating system's random bits."""

    def hex(self, digits: int) -> str:
        """So many random hex digits (an even number)."""
        return secrets.token_hex(digits // 2)

    def bytes(self, count: int) -> bytes:
        """So many random bytes."""
        return secrets.token_bytes(count)
