"""Time and randomness, as services see them."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Time. Safety never depends on it (I13)."""

    def utc(self) -> str:
        """Now as RFC 3339 UTC with microseconds and ``Z``, for people."""
        ...

    def unix_s(self) -> int:
        """Seconds since 1970."""
        ...

    def boottime_s(self) -> float:
        """Seconds on a clock that does not jump while the machine is up."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Sleep for that long."""
        ...


class Rng(Protocol):
    """Chance."""

    def hex(self, digits: int) -> str:
        """So many random hex digits (an even number)."""
        ...

    def bytes(self, count: int) -> bytes:
        """So many random bytes."""
        ...
