"""The lock of a store's names: landings share it, and whoever takes bytes away from their names has it alone.

A landing holds it from its row to its commit, so that nothing is renamed away between them; and what is renamed away
was not landing. An evictor holds it while it looks at its rows, renames, and commits. No bytes are read under it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager


class NamesLock:
    """Of one store, in one daemon. Who waits to have it alone goes before further landings."""

    def __init__(self) -> None:
        self._landings = 0
        self._alone = False
        self._waiting = 0
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def landing(self) -> AsyncGenerator[None]:
        """With other landings."""
        await self._until(lambda: not self._alone and not self._waiting)
        self._landings += 1
        try:
            yield
        finally:
            self._landings -= 1
            self._wake()

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[None]:
        """Without any."""
        self._waiting += 1
        try:
            await self._until(lambda: not self._alone and not self._landings)
            self._alone = True
        finally:
            self._waiting -= 1
            self._wake()
        try:
            yield
        finally:
            self._alone = False
            self._wake()

    async def _until(self, free: Callable[[], bool]) -> None:
        while not free():
            await self._changed.wait()

    def _wake(self) -> None:
        # Nothing is awaited here: a task that is cancelled must not keep the others waiting.
        self._changed.set()
        self._changed = asyncio.Event()
