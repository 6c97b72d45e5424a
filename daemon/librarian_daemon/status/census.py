"""Figures over the whole catalog, at a bounded cost: no request waits for a long count.

Counting 10^7 rows takes seconds, and triggers that keep totals would slow down every write, in two dialects. So a quick
count is made for each request. A slow count is made in the background; meanwhile requests get the last figures with
their time.
"""

from __future__ import annotations

import asyncio

import msgspec
import structlog

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.status import totals
from librarian_daemon.catalog.status.totals import Counted
from librarian_daemon.ports.time import Clock
from librarian_daemon.runtime.signals import Signal
from librarian_protocol.errors import CatalogFault
from librarian_protocol.names import SiteName

#: A count that took less than this is repeated for each request.
_QUICK_S = 0.25
#: A longer count is repeated only after this multiple of its duration: counting takes at most 1/20 of one core.
_REST = 20


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """A count and its time."""

    counted: Counted
    #: RFC 3339, UTC.
    at: str
    #: On the clock that does not jump.
    at_s: float
    took_s: float


class Census:
    """A service: :meth:`run` makes slow counts in the background."""

    def __init__(self, catalog: Catalog, clock: Clock, site: SiteName) -> None:
        self._catalog = catalog
        self._clock = clock
        self._site = site
        self._last: Figures | None = None
        self._first = asyncio.Lock()
        self._asked = Signal()
        self._log = structlog.get_logger("census")

    @property
    def last(self) -> Figures:
        """The last count that was made; zeros if none was made."""
        return self._last or Figures(counted=totals.NOTHING, at=self._clock.utc(), at_s=0.0, took_s=0.0)

    async def figures(self) -> Figures:
        """The figures: counted now if that is quick. Otherwise not older than twenty times the duration of a count, or
        than the last request.
        """
        last = self._last
        if last is None:
            async with self._first:
                return self._last or await self._count()
        if last.took_s < _QUICK_S:
            return await self._count()
        self._asked.set()
        return last

    async def run(self) -> None:
        """Count again after a request if the last count is old."""
        while True:
            asked = await self._asked.wait(60)
            last = self._last
            if asked and last is not None:
                await self._clock.sleep(max(0.0, last.at_s + _REST * last.took_s - self._clock.boottime_s()))
                try:
                    await self._count()
                except CatalogFault as exc:
                    self._log.error("not_counted", error=exc.message)

    async def _count(self) -> Figures:
        at, began_s = self._clock.utc(), self._clock.boottime_s()
        counted = await self._catalog.read(totals.count, self._site)
        took_s = self._clock.boottime_s() - began_s
        self._last = Figures(counted=counted, at=at, at_s=began_s, took_s=took_s)
        return self._last
