"""In-process signals: a service that wrote rows wakes the one that reads them.

A signal has no content and may be lost with the process: the catalog has the work to do.
"""

from __future__ import annotations

import asyncio


class Broadcast:
    """Wakes all present waiters; remembers nothing."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Wake all waiters."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, timeout_s: float) -> None:
        """Wait for the next signal or the time-out. Look first, then wait; the time-out covers a signal in between."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return


class Signal:
    """Remembers that it was set until somebody waited for it."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Wake the waiter now, or as soon as it waits."""
        self._event.set()

    async def wait(self, timeout_s: float) -> bool:
        """Wait until set or until the time is over; says which (True: set). Clears it."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True
