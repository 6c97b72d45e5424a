"""A wrapper that gives up a batch whose source brings its bytes too slowly, and remembers which sites are slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from librarian_adapters.contract import Adapter, Batch, Item, Outcome, Outcomes, Progress, Staging
from librarian_adapters.streams import closing_together, each_of
from librarian_protocol import rates
from librarian_protocol.entries import AdapterOffer
from librarian_protocol.errors import TransferSlow
from librarian_protocol.names import SiteName
from librarian_protocol.rates import OUTCOME_BYTES, Pace


class Paces:
    """What was learned of each site. In memory: after a restart each one begins with a good name."""

    def __init__(self, *, min_rate: float, over_s: float) -> None:
        """``min_rate``: bytes a second, 0 for no limit; ``over_s``: seconds over which it is taken."""
        self.min_rate = min_rate
        self.over_s = over_s
        self._paces: dict[SiteName, Pace] = {}

    def slow(self) -> frozenset[SiteName]:
        """The sites that are slow."""
        return frozenset(site for site, pace in self._paces.items() if pace.slow)

    def judge(self, site: SiteName, moved_bytes: int, seconds: float) -> bool:
        """Take note of what came in a full stretch of time; whether the batch ends."""
        pace, ends = rates.judged(self._paces.get(site, Pace()), moved_bytes, seconds, self.min_rate)
        self._keep(site, pace)
        return ends

    def over(self, site: SiteName, moved_bytes: int, seconds: float) -> None:
        """A batch is over before it could be judged: a quick one makes good, a short one says nothing else."""
        if moved_bytes and moved_bytes >= self.min_rate * seconds:
            self.judge(site, moved_bytes, max(seconds, 1e-3))

    def _keep(self, site: SiteName, pace: Pace) -> None:
        if pace == Pace():
            self._paces.pop(site, None)
        else:
            self._paces[site] = pace


class LeastRate:
    """Ends a batch of which less than the site is asked for comes within ``paces.over_s`` seconds.

    The time during which the reader of the outcomes is busy with one of them does not count. Adapters that ask for more
    patience with silence (``capabilities.stall_s``) have their work done elsewhere, and are left alone.

    Raises:
        TransferSlow: it is too slow. What already stands in staging stays there, to be resumed.
    """

    def __init__(self, inner: Adapter, paces: Paces) -> None:
        self.name = inner.name
        self.version = inner.version
        self.capabilities = inner.capabilities
        self._inner = inner
        self._paces = paces

    async def fetch(self, batch: Batch, staging: Staging, progress: Progress) -> AsyncGenerator[Outcome | Outcomes]:
        """As :meth:`Adapter.fetch`."""
        if self.capabilities.stall_s or not self._paces.min_rate:
            async with closing_together(self._inner.fetch(batch, staging, progress)) as unwatched:
                async for each in unwatched:
                    yield each
            return
        metered = _Metered(progress, self._paces, batch.source)
        async with closing_together(self._inner.fetch(batch, staging, metered)) as outcomes:
            while True:
                timer = asyncio.timeout(None)
                try:
                    async with timer:
                        metered.waits(timer)
                        told = await anext(outcomes, None)
                except TimeoutError as exc:
                    if not timer.expired():
                        raise
                    raise TransferSlow(
                        f"batch {batch.id}: site {batch.source} brought {metered.said} within {self._paces.over_s:g} s,"
                        f" less than replicator.min_rate"
                    ) from exc
                finally:
                    metered.busy()
                if told is None:
                    metered.over()
                    return
                metered.count(OUTCOME_BYTES * len(each_of(told)))
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


class _Metered:
    """Passes progress on, and counts what comes while the batch is waited for."""

    def __init__(self, progress: Progress, paces: Paces, site: SiteName) -> None:
        self._progress = progress
        self._paces = paces
        self._site = site
        self._loop = asyncio.get_running_loop()
        self._moved_bytes = 0
        self._waited_s = 0.0
        self._since_s = 0.0
        self._timer: asyncio.Timeout | None = None
        self._call: asyncio.TimerHandle | None = None
        #: What came in the stretch that was judged last.
        self.said = ""

    def waits(self, timer: asyncio.Timeout) -> None:
        """From now on the batch is waited for."""
        self._since_s = self._loop.time()
        self._timer = timer
        self._call = self._loop.call_later(max(0.0, self._paces.over_s - self._waited_s), self._judge)

    def busy(self) -> None:
        """The reader is at work; until it waits again no time passes."""
        self._waited_s += self._loop.time() - self._since_s
        self._timer = None
        if self._call is not None:
            self._call.cancel()

    def over(self) -> None:
        """The batch has ended by itself."""
        self._paces.over(self._site, self._moved_bytes, self._waited_s)

    def count(self, size_bytes: int) -> None:
        self._moved_bytes += size_bytes

    def _judge(self) -> None:
        now_s = self._loop.time()
        seconds = self._waited_s + now_s - self._since_s
        moved_bytes, self._moved_bytes = self._moved_bytes, 0
        self.said = f"{moved_bytes:,} bytes"
        self._waited_s, self._since_s = 0.0, now_s
        if self._paces.judge(self._site, moved_bytes, seconds) and self._timer is not None:
            self._timer.reschedule(now_s)
        else:
            self._call = self._loop.call_later(self._paces.over_s, self._judge)

    def moved(self, item: Item, size_bytes: int) -> None:
        self.count(size_bytes)
        self._progress.moved(item, size_bytes)

    async def save_ticket(self, ticket: bytes) -> None:
        await self._progress.save_ticket(ticket)
