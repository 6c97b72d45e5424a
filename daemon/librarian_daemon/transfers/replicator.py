"""The replicator: takes wanted transfers, groups them into jobs, runs a bounded number of them (docs/architecture.md).

Everything it holds in memory may be lost at any moment: what is to be done stands in the catalog, and what was staged
is found again by its key.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing

import msgspec
import structlog

from librarian_adapters.contract import Adapter
from librarian_daemon.catalog import planning, transfers
from librarian_daemon.catalog.transfers import Held, Move, Owed, manifest_key
from librarian_daemon.catalog.writer import Catalog, Tx
from librarian_daemon.fetching import Fetcher, Job, Moved
from librarian_daemon.lander import Arrived, Lander, failure
from librarian_daemon.metrics import Metrics
from librarian_daemon.ports import Clock, Rng, Store
from librarian_daemon.reasons import reason_of
from librarian_daemon.settings import AdapterLimits, ReplicatorSettings
from librarian_daemon.signals import Signal
from librarian_protocol.choosing import choose
from librarian_protocol.entries import Unit
from librarian_protocol.errors import LibrarianError, TransferError
from librarian_protocol.names import SiteName
from librarian_protocol.transfer import LINK, Due, Fail, Reason, Reserve, Start
from librarian_protocol.wanted import EXPLAINED, Source, Unwanting

IDLE_S = 30.0
PAGE = 500
#: Verified files that may wait for the lander; beyond that the adapter waits.
MAX_ARRIVED = 512
#: Failures that are written down in one commit: when a source goes away, a whole batch fails at once.
MAX_FAILED = 200
#: Wanted transfers that are looked at together, and pages of them in one look.
PAGE_WANTED = 4000
LOOKED_AT = 10
_NONE = {
    Unwanting.NO_COMMON_ADAPTER: Reason.NO_COMMON_ADAPTER,
    Unwanting.NO_SOURCE: Reason.NO_SOURCE,
    Unwanting.SOURCE_DOUBTED: Reason.NO_SOURCE,
}


class Replicator:
    """Service."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        stores: Mapping[str, Store],
        adapters: Mapping[str, Adapter],
        lander: Lander,
        moved: Moved,
        clock: Clock,
        rng: Rng,
        site: SiteName,
        settings: ReplicatorSettings,
        limits: Mapping[str, AdapterLimits],
        metrics: Metrics,
        wake: Signal,
    ) -> None:
        self._catalog = catalog
        self._stores = stores
        self._adapters = adapters
        self._lander = lander
        self._moved = moved
        self._clock = clock
        self._rng = rng
        self._site = site
        self._settings = settings
        self._limits = limits
        self._metrics = metrics
        self._wake = wake
        self._running: dict[str, tuple[Job, asyncio.Task[None]]] = {}
        #: Sites whose link failed since they last brought something.
        self._unreachable: set[SiteName] = set()
        self._log = structlog.get_logger("replicator")

    async def run(self) -> None:
        """Until cancelled. Beginning (again), nobody holds anything: what adapters held is wanted again.

        But for what goes on elsewhere, by tickets: that is taken up again.
        """
        await self._catalog.write(transfers.restart)
        async with asyncio.TaskGroup() as group:
            while True:
                await self._take_due()
                started = False
                # Those that go on count among the running ones before new ones are begun.
                for find in (self._elsewhere, self._next_jobs):
                    for job in await find():
                        task = group.create_task(self._run_job(job), name=f"job-{job.id}")
                        self._running[job.id] = job, task
                        started = True
                if not started:
                    await self._wake.wait(await self._patience_s())

    async def _patience_s(self) -> float:
        next_due_s = await self._catalog.read(transfers.next_due_s)
        if next_due_s is None:
            return IDLE_S
        return min(max(next_due_s - self._clock.boottime_s(), 0.05), IDLE_S)

    async def _take_due(self) -> None:
        """Transfers that have waited long enough are wanted again."""
        now_s = self._clock.boottime_s()
        while True:
            page = await self._catalog.read(transfers.due, now_s, PAGE)
            if not page:
                return
            await self._catalog.write(
                transfers.take, [Move(owed=one, event=Due(), message=one.row.message) for one in page], now_s
            )

    # ---- what goes on elsewhere --------------------------------------------------------------------------

    async def _elsewhere(self) -> list[Job]:
        """Jobs for batches with tickets that nobody runs, after a restart; those that nobody wants any longer end."""
        jobs: list[Job] = []
        for held in await self._catalog.read(transfers.held):
            owed = await self._wanted_of(held)
            if not owed:
                await self._drop(held)
            elif held.id not in self._running:
                job = Job(
                    id=held.id,
                    source=held.source,
                    source_store=held.source_store,
                    offer=held.offer,
                    owed=owed,
                    has_other=set(),
                    ticket=held.ticket,
                )
                jobs.append(await self._catalog.write(self._started, job))
        return [job for job in jobs if job.owed]

    async def _wanted_of(self, held: Held) -> list[Owed]:
        """What a batch is still to bring, with an adapter and into a store that this site has."""
        owed = await self._catalog.read(transfers.of_batch, held.id)
        return [one for one in owed if one.row.store in self._stores and held.adapter in self._adapters]

    async def _drop(self, held: Held) -> None:
        """End the work of a ticket: its transfers were all cancelled, or its adapter or store is not configured."""
        if held.id in self._running:
            job, task = self._running[held.id]
            if not await self._catalog.read(transfers.all_cancelled, [one.id for one in job.owed]):
                return  # it has brought everything, and is about to end by itself
            task.cancel()
            await asyncio.wait([task])
        try:
            if held.adapter in self._adapters:
                await self._adapters[held.adapter].abandon(held.ticket)
        except TransferError as exc:
            self._log.warning("not_abandoned", job=held.id, adapter=held.adapter, error=exc.message)
            return  # with the next look
        await self._catalog.write(transfers.close_batch, held.id)
        self._log.info("abandoned", job=held.id, adapter=held.adapter)

    # ---- choosing --------------------------------------------------------------------------------------

    def _free(self) -> dict[str, int]:
        """How many jobs each adapter may begin."""
        running = Counter(job.adapter for job, _ in self._running.values())
        return {name: self._jobs(name) - running[name] for name in self._adapters}

    def _jobs(self, adapter: str) -> int:
        return self._limits.get(adapter, AdapterLimits()).jobs or self._settings.concurrency

    async def _next_jobs(self) -> list[Job]:
        """New ones, from the oldest wanted transfers on; where their adapters are busy, from later ones."""
        free = self._free()
        after = 0
        for _ in range(LOOKED_AT):
            if not any(number > 0 for number in free.values()):
                return []
            owed = await self._catalog.read(transfers.wanted_now, PAGE_WANTED, after)
            if not owed:
                return []
            after = owed[-1].id
            files = [one.row.file_id for one in owed]
            found = await self._catalog.read(planning.find_sources, self._site, list(self._adapters), files)
            jobs, hopeless = self._choose(owed, found, free)
            if jobs or hopeless:
                begun = await self._catalog.write(self._begin, jobs, hopeless)
                if begun:
                    return begun
        return []

    def _begin(self, tx: Tx, jobs: Sequence[Job], hopeless: Sequence[Move]) -> list[Job]:
        transfers.take(tx, hopeless, self._clock.boottime_s())
        begun = [job for job in (self._started(tx, job) for job in jobs) if job.owed]
        for job in begun:
            transfers.open_batch(tx, job.id, job.source, job.source_store, job.offer)
        return begun

    def _started(self, tx: Tx, job: Job) -> Job:
        """The job with those transfers that could still be reserved and started."""
        now_s = self._clock.boottime_s()
        reserved = transfers.take(
            tx,
            [Move(owed=one, event=Reserve(job.source), batch=job.id, adapter=job.adapter) for one in job.owed],
            now_s,
        )
        owed = [one for one in job.owed if one.id in reserved]
        moves = [
            Move(owed=one, event=Start(), batch=job.id, adapter=job.adapter, chosen=job.why.get(one.id, ""))
            for one in owed
        ]
        transfers.take(tx, moves, now_s)
        return msgspec.structs.replace(job, owed=owed)

    def _choose(
        self, owed: Sequence[Owed], found: Mapping[int, Sequence[Source] | Unwanting], free: Mapping[str, int]
    ) -> tuple[list[Job], list[Move]]:
        """Group by source and adapter, each book by itself; transfers without a source fail for that reason."""
        hopeless: list[Move] = []
        jobs: dict[str, Job] = {}
        begun: Counter[str] = Counter()
        min_bytes = {name: one.min_bytes for name, one in self._limits.items()}
        #: The job that still takes files, by (store, source, source's store, adapter), and its bytes.
        taking: dict[tuple[str, ...], tuple[str, int]] = {}
        for one in owed:
            if one.row.store not in self._stores:
                fail = Fail(Reason.STORE_NOT_MOUNTED)
                hopeless.append(Move(owed=one, event=fail, message="the store is not configured here"))
                continue
            ways = found.get(one.row.file_id, Unwanting.NO_SOURCE)
            if isinstance(ways, Unwanting):
                hopeless.append(Move(owed=one, event=Fail(_NONE[ways]), message=EXPLAINED[ways]))
                continue
            choice = choose(
                ways,
                size_bytes=one.size_bytes,
                attempts=one.row.transfer.attempts,
                last=one.row.message,
                min_bytes=min_bytes,
            )
            source, adapter = choice.source, choice.source.offer.name
            key = (one.row.store, source.site, source.store, adapter)
            job_id, size_bytes = taking.get(key, ("", 0))
            alone = one.unit is Unit.BOOK and not self._adapters[adapter].capabilities.trees
            if alone or not job_id or not self._fits(jobs[job_id], size_bytes, one):
                if begun[adapter] >= free[adapter]:
                    continue
                begun[adapter] += 1
                job, size_bytes = self._job(source), 0
                job_id, jobs[job.id] = job.id, job
            jobs[job_id].owed.append(one)
            jobs[job_id].why[one.id] = choice.why
            if len({way.site for way in ways}) > 1:
                jobs[job_id].has_other.add(one.id)
            if not alone:
                taking[key] = (job_id, size_bytes + one.size_bytes)
        return list(jobs.values()), hopeless

    def _job(self, source: Source) -> Job:
        return Job(
            id=self._rng.hex(16),
            source=source.site,
            source_store=source.store,
            offer=source.offer,
            owed=[],
            has_other=set(),
            why={},
        )

    def _fits(self, job: Job, size_bytes: int, one: Owed) -> bool:
        limits = self._adapters[job.adapter].capabilities
        return len(job.owed) < min(limits.max_files, self._settings.batch_files) and size_bytes + one.size_bytes <= min(
            limits.max_bytes, self._settings.batch_bytes
        )

    # ---- running ---------------------------------------------------------------------------------------

    async def _run_job(self, job: Job) -> None:
        started_s = self._clock.boottime_s()
        self._log.info("job_started", job=job.id, peer=job.source, adapter=job.adapter, files=len(job.owed))
        store = self._stores[job.owed[0].row.store]
        fetcher = Fetcher(self._adapters[job.adapter], store, self._moved)
        arrived: asyncio.Queue[Owed | None] = asyncio.Queue(maxsize=MAX_ARRIVED)
        failures, failed = 0, list[Move]()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._land(job, store, arrived))
                async with aclosing(fetcher.fetch(job)) as outcomes:
                    async for owed, error in outcomes:
                        if error is None:
                            await arrived.put(owed)
                            continue
                        failures += 1
                        failed.append(self._failed(job, owed, error))
                        if len(failed) == MAX_FAILED:
                            await self._catalog.write(transfers.take, failed, self._clock.boottime_s())
                            failed = []
                await arrived.put(None)
                await self._catalog.write(transfers.take, failed, self._clock.boottime_s())
        finally:
            brought = self._moved.any(job)
            self._moved.forget(job)
            del self._running[job.id]
            self._wake.set()
        await self._catalog.write(transfers.close_batch, job.id)
        if brought and job.source in self._unreachable:
            self._unreachable.discard(job.source)
            await self._catalog.write(transfers.hasten, job.source, self._clock.boottime_s())
            self._wake.set()
        seconds = self._clock.boottime_s() - started_s
        self._metrics.batch_seconds.labels(adapter=job.adapter).observe(seconds)
        self._log.info("job_ended", job=job.id, peer=job.source, failed=failures, seconds=round(seconds, 3))

    async def _land(self, job: Job, store: Store, arrived: asyncio.Queue[Owed | None]) -> None:
        """Land whatever has arrived while the last landing was made durable."""
        async for group in _groups(arrived):
            await self._lander.land(
                store,
                store.staging_root,
                [
                    Arrived(
                        owed=one,
                        source=job.source,
                        adapter=job.adapter,
                        batch=job.id,
                        other_source=one.id in job.has_other,
                        manifest_key=manifest_key(one.id),
                    )
                    for one in group
                ],
            )

    def _failed(self, job: Job, owed: Owed, error: LibrarianError) -> Move:
        self._metrics.failed_attempts.labels(peer=job.source, reason=reason_of(error).value).inc()
        self._log.warning("attempt_failed", transfer=owed.id, name=owed.name, peer=job.source, error=error.message)
        progressed = self._moved.any(job)
        if reason_of(error) in LINK and not progressed:
            self._unreachable.add(job.source)
        return failure(owed, error, owed.id in job.has_other, progressed=progressed)


async def _groups(queue: asyncio.Queue[Owed | None]) -> AsyncIterator[list[Owed]]:
    """What the queue holds, as lists, until None comes."""
    ended = False
    while not ended:
        group: list[Owed] = []
        one = await queue.get()
        while one is not None:
            group.append(one)
            if queue.empty():
                break
            one = queue.get_nowait()
        ended = one is None
        if group:
            yield group
