"""Figures over the whole catalog, at a bounded cost: nobody who asks waits for a long count.

Counting 10^7 rows takes seconds, and triggers that keep totals would make every write dearer, in two dialects. So what
is quick to count is counted anew for everybody who asks; what is not is counted aside, and the last figures are given
meanwhile, with the time of which they are.
"""

from __future__ import annotations

import asyncio

import msgspec

from librarian_daemon.catalog import counting
from librarian_daemon.catalog.counting import Counted
from librarian_daemon.catalog.writer import Catalog
from librarian_daemon.ports import Clock
from librarian_daemon.signals import Signal
from librarian_protocol.names import SiteName

#: A count that took less than this is made again for each who asks.
_QUICK_S = 0.25
#: A longer one not before so many times as long as it took: counting takes at most a twentieth of one core.
_REST = 20


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """A count, and when it was made."""

    counted: Counted
    #: RFC 3339, UTC.
    at: str
    #: Of the clock that does not jump.
    at_s: float
    took_s: float


class Census:
    """A service: :meth:`run` counts aside what takes long."""

    def __init__(self, catalog: Catalog, clock: Clock, site: SiteName) -> None:
        self._catalog = catalog
        self._clock = clock
        self._site = site
        self._last: Figures | None = None
        self._first = asyncio.Lock()
        self._asked = Signal()

    async def figures(self) -> Figures:
        """What there is: of now, where that is quick; else not older than twenty times what a count takes, or as old
        as the last question."""
        last = self._last
        if last is None:
            async with self._first:
                return self._last or await self._count()
        if last.took_s < _QUICK_S:
            return await self._count()
        self._asked.set()
        return last

    async def run(self) -> None:
        """Count again when somebody asked and the last count is old."""
        while True:
            asked = await self._asked.wait(60)
            last = self._last
            if asked and last is not None:
                await self._clock.sleep(max(0.0, last.at_s + _REST * last.took_s - self._clock.boottime_s()))
                await self._count()

    async def _count(self) -> Figures:
        at, began_s = self._clock.utc(), self._clock.boottime_s()
        counted = await self._catalog.read(counting.count, self._site)
        took_s = self._clock.boottime_s() - began_s
        self._last = Figures(counted=counted, at=at, at_s=began_s, took_s=took_s)
        return self._last
