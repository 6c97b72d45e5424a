"""A clock for services that look again and again: they do so when the test says so."""

from __future__ import annotations

import asyncio

from librarian_daemon.runtime.clock import SystemClock


class SteppedClock(SystemClock):
    """Sleeps end when the test says so."""

    def __init__(self) -> None:
        self.tick = asyncio.Event()
        self.sleeping = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.sleeping.set()
        await self.tick.wait()
        self.tick.clear()

    async def look_again(self) -> None:
        """The next look, to its end."""
        self.sleeping.clear()
        self.tick.set()
        await self.sleeping.wait()
