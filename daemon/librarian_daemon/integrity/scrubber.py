"""The scrubber: reads every instance again, in passes over each store, the least recently verified first.

See docs/scrub.md.

It only looks for what is wrong. What it finds so the custodian reads once more, and registers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import structlog

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.integrity import scrubbing
from librarian_daemon.catalog.integrity.instances import Holding
from librarian_daemon.catalog.integrity.scrubbing import Due
from librarian_daemon.catalog.journal import quarantine
from librarian_daemon.integrity.custodian import Custodian
from librarian_daemon.integrity.freezing import Freezing
from librarian_daemon.integrity.rereading import Pace, is_right
from librarian_daemon.ports.store import Store
from librarian_daemon.ports.time import Clock
from librarian_daemon.runtime.metrics import Metrics
from librarian_daemon.runtime.signals import Signal
from librarian_protocol import scrub
from librarian_protocol.errors import StoreError, StoreNotMounted
from librarian_protocol.names import SiteName
from librarian_protocol.scrub import Budget, Pass

#: It looks so often whether it may begin, or go on.
LOOK_EVERY_S = 60.0
#: How much a store holds is summed up so often: it takes seconds where it holds 10^7 instances.
MEASURE_EVERY_S = 3600.0
#: Instances read before that is committed, and bytes.
_PAGE = 64
_COMMIT_BYTES = 256 << 20


class Scrubber:
    """Service: one task for each store."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        stores: Sequence[Store],
        budgets: Mapping[str, Budget],
        custodian: Custodian,
        freezing: Freezing,
        clock: Clock,
        site: SiteName,
        metrics: Metrics,
    ) -> None:
        """``budgets``: of each store, by its id."""
        self._catalog = catalog
        self._stores = stores
        self._budgets = budgets
        self._custodian = custodian
        self._freezing = freezing
        self._clock = clock
        self._site = site
        self._metrics = metrics
        self._wakes: dict[str, Signal] = {}
        self._added = asyncio.Queue[Store]()
        self._log = structlog.get_logger("scrubber")

    async def ask(self, store: str) -> Pass:
        """A person wants the store read now, whatever the hours. A pass that goes on is the one."""
        begun = await self._catalog.write(scrubbing.begin, store, self._clock.unix_s(), asked=True)
        self._wake(store).set()
        return begun

    def watch(self, store: Store) -> None:
        """Read a store, too, that was added while the daemon runs."""
        self._added.put_nowait(store)

    def _wake(self, store: str) -> Signal:
        return self._wakes.setdefault(store, Signal())

    async def run(self) -> None:
        """Until cancelled."""
        await self._freezing.tell()  # a crash may have come between the commit and this
        async with asyncio.TaskGroup() as group:
            for store in self._stores:
                group.create_task(self._watch(store), name=f"scrubbing {store.label}")
            while True:
                store = await self._added.get()
                group.create_task(self._watch(store), name=f"scrubbing {store.label}")

    async def _watch(self, store: Store) -> None:
        budget = self._budgets[store.id]
        pace = Pace(self._clock, float(budget.rate))
        held_bytes, measured_s = 0, -MEASURE_EVERY_S
        while any(store.id == attached.id for attached in self._stores):
            now = self._clock.unix_s()
            last = await self._catalog.read(scrubbing.last_pass, store.id)
            if await self._catalog.read(quarantine.state) is not None:
                await self._wake(store.id).wait(LOOK_EVERY_S)
                continue
            if self._clock.boottime_s() - measured_s >= MEASURE_EVERY_S:
                held_bytes = await self._catalog.read(scrubbing.held_bytes, self._site, store.id)
                measured_s = self._clock.boottime_s()
            if scrub.is_due(last, budget, held_bytes, now):
                last = await self._catalog.write(scrubbing.begin, store.id, now)
            if last is None or last.ended is not None:
                await self._wake(store.id).wait(LOOK_EVERY_S)
                continue
            pace.hours = scrub.ALWAYS if last.asked else budget.hours
            pace.rate = await self._rate(store, budget, held_bytes)
            if pace.closed_s() or not await self._advance(store, last, pace):
                await self._wake(store.id).wait(LOOK_EVERY_S)

    async def _rate(self, store: Store, budget: Budget, held_bytes: int) -> float:
        ages = await self._catalog.read(scrubbing.ages, store.id, self._clock.unix_s(), held_bytes)
        busy = await self._catalog.read(scrubbing.is_busy)
        return scrub.allowed_rate(budget, busy=busy, miss_s=scrub.projected_miss_s(ages, budget))

    async def _advance(self, store: Store, now: Pass, pace: Pace) -> bool:
        """Read the next page of a pass. Returns whether to go on at once."""
        if not now.gathered:
            after = 0
            while after := await self._catalog.write(scrubbing.gather, self._site, store.id, after):
                pass
        page = await self._catalog.read(scrubbing.due, self._site, store.id, now.number, _PAGE)
        if page.empty:
            await self._catalog.write(scrubbing.end, store.id, self._clock.unix_s())
            self._log.info("scrubbed", store=store.label, number=now.number, files=now.files, size_bytes=now.bytes)
            return False
        if page.gone or page.passed:
            await self._catalog.write(scrubbing.passed_by, store.id, now.number, page)
        good: list[Holding] = []
        for holding in page.holdings:
            right = await _is_right(store, holding, pace)
            if right:
                good.append(holding)
            if not right or sum(read.size_bytes for read in good) >= _COMMIT_BYTES:
                await self._good(store, now, good)
                good = []
            if right is None or (not right and not await self._bad(store, now, holding)):
                return False
        await self._good(store, now, good)
        return True

    async def _bad(self, store: Store, now: Pass, holding: Holding) -> bool:
        """What was found bad, and what follows from that, is committed before anything else is read.

        Returns whether anything could be said of it.
        """
        check = await self._custodian.examine(holding)
        if check is None or isinstance(check.error, StoreNotMounted):
            return False
        if check.error is None:
            await self._good(store, now, [holding])
        else:
            passed = Due(holdings=(), gone=(), passed=[holding.file_id])
            await self._catalog.write(scrubbing.passed_by, store.id, now.number, passed)
        return True

    async def _good(self, store: Store, now: Pass, good: Sequence[Holding]) -> None:
        if not good:
            return
        proven = await self._catalog.write(scrubbing.read, store.id, now.number, good, self._clock.unix_s())
        self._metrics.scrubbed_bytes.labels(store.label).inc(sum(holding.size_bytes for holding in good))
        for holding in proven:
            await self._custodian.let_bad_go(holding)


async def _is_right(store: Store, holding: Holding, pace: Pace) -> bool | None:
    """As :func:`is_right`; False also where it cannot be read: the custodian knows what that means. None: the store is
    away.
    """
    try:
        return await is_right(store, holding, pace)
    except StoreNotMounted:
        return None
    except StoreError:
        return False
