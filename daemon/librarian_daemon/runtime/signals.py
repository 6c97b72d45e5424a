"""In-process signals: how a service that wrote rows wakes the one that reads them.

A signal carries nothing and may be lost with the process: what there is to do stands in the catalog.
"""

from __future__ import annotations

import asyncio


class Broadcast:
    """Wakes everybody who waits just now; remembers nothing."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Wake all waiters."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, timeout_s: float) -> None:
        """Wait for the next time, or until the time is over. Look first, then wait: with a bound, nothing is lost."""
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
