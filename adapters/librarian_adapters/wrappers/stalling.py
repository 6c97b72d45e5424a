"""A wrapper that gives up a batch in which nothing moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from librarian_adapters.contract import Adapter, Batch, Item, Outcome, Outcomes, Progress, Staging
from librarian_adapters.streams import closing_together
from librarian_protocol.entries import AdapterOffer
from librarian_protocol.errors import TransferTimeout

#: Part of the patience that must have passed before its end is put off; by so much it lasts longer.
PUT_OFF = 0.01


class StallingAdapter:
    """Ends a batch when for ``stall_s`` seconds no byte arrived and no outcome came; the adapter may ask for longer.

    The time during which the reader of the outcomes is busy with one of them does not count.

    Raises:
        TransferTimeout: nothing moved. What already stands in staging stays there, to be resumed.
    """

    def __init__(self, inner: Adapter, *, stall_s: float) -> None:
        self.name = inner.name
        self.version = inner.version
        self.capabilities = inner.capabilities
        self._inner = inner
        self._stall_s = inner.capabilities.stall_s or stall_s

    async def fetch(self, batch: Batch, staging: Staging, progress: Progress) -> AsyncGenerator[Outcome | Outcomes]:
        """As :meth:`Adapter.fetch`."""
        watched = _Watched(progress, self._stall_s)
        async with closing_together(self._inner.fetch(batch, staging, watched)) as outcomes:
            while True:
                timer = asyncio.timeout(self._stall_s)
                try:
                    async with timer:
                        watched.timer = timer
                        told = await anext(outcomes, None)
                except TimeoutError as exc:
                    if not timer.expired():
                        raise
                    raise TransferTimeout(
                        f"batch {batch.id} from site {batch.source}: nothing moved for {self._stall_s:g} s"
                    ) from exc
                finally:
                    watched.timer = None
                if told is None:
                    return
                yield told

    def offer(self) -> AdapterOffer | None:
        """As :meth:`Adapter.offer`."""
        return self._inner.offer()

    async def abandon(self, ticket: bytes) -> None:
        """As :meth:`Adapter.abandon`."""
        await self._inner.abandon(ticket)

    async def close(self) -> None:
        """As :meth:`Adapter.close`."""
        await self._inner.close()


class _Watched:
    """Passes progress on, and puts the end of patience off."""

    def __init__(self, progress: Progress, stall_s: float) -> None:
        self._progress = progress
        self._stall_s = stall_s
        self._loop = asyncio.get_running_loop()
        self.timer: asyncio.Timeout | None = None

    def _alive(self) -> None:
        timer = self.timer
        if timer is None or timer.expired():
            return
        ends_s = self._loop.time() + self._stall_s
        # Each put-off is an entry in the loop's queue: not for every small item.
        if ends_s > (timer.when() or 0.0):
            timer.reschedule(ends_s + self._stall_s * PUT_OFF)

    def moved(self, item: Item, size_bytes: int) -> None:
        if size_bytes > 0:
            self._alive()
        self._progress.moved(item, size_bytes)

    async def save_ticket(self, ticket: bytes) -> None:
        await self._progress.save_ticket(ticket)
        self._alive()
