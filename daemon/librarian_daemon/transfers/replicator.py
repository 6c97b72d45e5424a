"""The replicator: takes wanted transfers, groups them into jobs, runs a bounded number of them (docs/architecture.md).

Everything in memory may be lost at any moment: the catalog has the work to do, and staged bytes are found by their
keys.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence, Set
from contextlib import aclosing

import msgspec
import structlog

from librarian_adapters import tasks
from librarian_daemon.catalog import attributes
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.journal import record
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.transfers import batch_rows, order, planning, transfers, transitions
from librarian_daemon.catalog.transfers.batch_rows import Held
from librarian_daemon.catalog.transfers.transfers import TransferView
from librarian_daemon.catalog.transfers.transitions import Transition
from librarian_daemon.ports.staging_keys import manifest_key, transfer_key, transfer_keys
from librarian_daemon.ports.store import Store
from librarian_daemon.ports.time import Clock
from librarian_daemon.runtime.metrics import Metrics
from librarian_daemon.runtime.signals import Signal
from librarian_daemon.transfers import destinations
from librarian_daemon.transfers.batches import Batches
from librarian_daemon.transfers.destinations import Destinations, Placing
from librarian_daemon.transfers.fetcher import Fetcher, Job, TransferProgress
from librarian_daemon.transfers.lander import Arrived, Lander, failure
from librarian_daemon.transfers.pauses import Pauses
from librarian_protocol import batches
from librarian_protocol.errors import LibrarianError, TransferError
from librarian_protocol.names import SiteName
from librarian_protocol.transfer import LINK, STORE, Due, Release, State
from librarian_protocol.transfer_reasons import reason_of
from librarian_protocol.wanted import LOCAL

IDLE_S = 30.0
PAGE = 500
#: Verified files that can wait for the lander; then the adapter waits.
MAX_ARRIVED = 512
#: Failures that are written down in one commit: when a source goes away, a whole batch fails at once.
MAX_FAILED = 200
#: Wanted transfers that are looked at together, and pages of them in one look.
PAGE_WANTED = 4000
LOOKED_AT = 10
#: One look of so many reads all pages, not only the first transfers of each origin.
LOOKS_AT_FIRST = 8
#: Delay after a look that found nothing for the slots of other sites.
LOOK_AGAIN_S = 1.0


class Replicator:
    """Service."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        stores: Mapping[str, Store],
        lander: Lander,
        progress: TransferProgress,
        clock: Clock,
        batches: Batches,
        metrics: Metrics,
        pauses: Pauses,
        wake: Signal,
        destinations: Destinations,
    ) -> None:
        self._catalog = catalog
        self._stores = stores
        self._adapters = batches.adapters
        self._lander = lander
        self._progress = progress
        self._clock = clock
        #: By adapter.
        self._slots = batches.slots
        self._batches = batches
        self._metrics = metrics
        self._pauses = pauses
        self._wake = wake
        self._destinations = destinations
        destinations.rooms.written_by(self._written)
        self._running: dict[str, tuple[Job, asyncio.Task[None]]] = {}
        #: Batches that adapters are fetching, and what ends them.
        self._fetching: dict[str, tuple[Job, asyncio.Timeout]] = {}
        #: Sites whose link failed since they last brought something.
        self._unreachable: set[SiteName] = set()
        #: When to look for other sites' transfers again, if some sites have their share.
        self._look_again_s = 0.0
        self._looks = 0
        #: Whether the last look at what is wanted calls for another one, and whether it may have left something that
        #: waits for a batch to end.
        self._again = False
        self._left = True
        self._log = structlog.get_logger("replicator")

    async def run(self) -> None:
        """Until cancelled.

        At a start no adapter holds anything: what adapters held is wanted again, except for work with tickets that
        goes on elsewhere, which is resumed.
        """
        await self._catalog.write(batch_rows.restart)
        async with asyncio.TaskGroup() as group:
            while True:
                look = await self._look()
                await self._end_stopped(look.held)
                # Resumed jobs count as running before new ones begin.
                if look.held:
                    self._run_all(group, await self._elsewhere())
                self._again = False
                self._run_all(group, await self._next_jobs())
                if not self._again:
                    await self._wake.wait(self._patience_s(look.next_due_s))

    def _run_all(self, group: asyncio.TaskGroup, jobs: Sequence[Job]) -> None:
        for job in jobs:
            task = group.create_task(self._run_job(job), name=f"job-{job.id}")
            self._running[job.id] = job, task
            self._slots[job.adapter].take(job.source)

    def _patience_s(self, next_due_s: float | None) -> float:
        now_s = self._clock.boottime_s()
        waits_s = IDLE_S if next_due_s is None else min(max(next_due_s - now_s, 0.05), IDLE_S)
        return min(waits_s, LOOK_AGAIN_S) if now_s < self._look_again_s else waits_s

    async def _look(self) -> batch_rows.Look:
        """Transfers that have waited long enough are wanted again; then what a round begins with."""
        now_s = self._clock.boottime_s()
        while (look := await self._catalog.read(batch_rows.look, now_s, PAGE)).due:
            await self._catalog.write(
                transitions.apply_transitions,
                [Transition(view=view, event=Due(), message=view.row.message) for view in look.due],
                now_s,
            )
        return look

    # ---- what is not to go on ------------------------------------------------------------------------------

    async def _end_stopped(self, held: Sequence[Held]) -> None:
        """End batches whose transfers were cancelled or paused meanwhile. For those with tickets see :meth:`_drop`.

        All batches end if transfers or their source are paused.
        """
        if not self._fetching:
            return
        elsewhere = {batch.id for batch in held}
        for id_, (job, scope) in list(self._fetching.items()):
            left = [view for view in job.owed if view.id not in job.ended]
            stopped = await self._catalog.read(transfers.stopped, [view.id for view in left])
            left_bytes = sum(
                view.size_bytes - self._progress.bytes.get(view.id, 0) for view in left if view.id in stopped
            )
            ends = self._put_off(job.source) or batches.ends(
                stopped=len(stopped), stopped_bytes=left_bytes, going=len(left) - len(stopped)
            )
            # A batch that is already ending is left alone.
            if ends and id_ in self._fetching and id_ not in elsewhere and not scope.expired():
                self._log.info("batch_ended", job=id_, peer=job.source, stopped=len(stopped))
                scope.reschedule(asyncio.get_running_loop().time())

    def _put_off(self, source: SiteName) -> bool:
        """Whether a person has paused transfers, or the source."""
        return bool(self._pauses.transfers() or self._pauses.peer(source))

    async def _let_go(self, job: Job, store: Store) -> None:
        """A batch was ended: wanted transfers start again from the staged bytes; cancelled ones leave staging."""
        moves = [Transition(view=view, event=Release()) for view in job.owed]
        await self._catalog.write(transitions.apply_transitions, moves, self._clock.boottime_s())
        stopped = await self._catalog.read(transfers.stopped, [view.id for view in job.owed])
        cancelled = [id_ for id_, state in stopped.items() if state is State.CANCELLED]
        await store.discard([key for id_ in cancelled for key in transfer_keys(id_)])

    # ---- what goes on elsewhere --------------------------------------------------------------------------

    async def _elsewhere(self) -> list[Job]:
        """Jobs for batches with tickets that do not run after a restart; those that are no longer wanted end."""
        jobs: list[Job] = []
        for held in await self._catalog.read(batch_rows.held):
            owed = await self._wanted_of(held)
            if not owed:
                await self._drop(held)
            elif held.id not in self._running and not self._put_off(held.source):
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

    async def _wanted_of(self, held: Held) -> list[TransferView]:
        """The transfers that a batch must still bring, if this site has its adapter and their store."""
        owed = await self._catalog.read(batch_rows.of_batch, held.id)
        return [view for view in owed if view.row.store in self._stores and held.adapter in self._adapters]

    async def _drop(self, held: Held) -> None:
        """End the work of a ticket: its transfers were all cancelled, or its adapter or store is not configured."""
        if held.id in self._running:
            job, task = self._running[held.id]
            if len(await self._catalog.read(transfers.stopped, [view.id for view in job.owed])) < len(job.owed):
                return  # it has brought everything, and will end by itself
            await tasks.stop(task)
        try:
            if held.adapter in self._adapters:
                await self._adapters[held.adapter].abandon(held.ticket)
        except TransferError as exc:
            self._log.warning("not_abandoned", job=held.id, adapter=held.adapter, error=exc.message)
            return  # with the next look
        await self._catalog.write(batch_rows.close_batch, held.id)
        self._log.info("abandoned", job=held.id, adapter=held.adapter)

    # ---- choosing --------------------------------------------------------------------------------------

    async def _next_jobs(self) -> list[Job]:
        """New jobs, from the most urgent and oldest wanted transfers.

        Transfers whose only sources cannot begin a batch are skipped.
        If the other sites have nothing to bring, the next look waits, because it is expensive.
        """
        self._left = True
        if self._pauses.transfers():
            return []
        free = [slots for name, slots in self._slots.items() if slots.free > 0 and name != LOCAL.name]
        if not free and self._slots[LOCAL.name].free <= 0:
            return []
        full = frozenset(
            site
            for slots in free
            for site in slots.held()
            if all(adapter_slots.waits(site) is not None for adapter_slots in free)
        )
        if full and self._clock.boottime_s() < self._look_again_s:
            return []
        # A transfer that was paused or cancelled and is wanted again may still be written by its earlier batch.
        brought = {view.id for job, _ in self._running.values() for view in job.owed if view.id not in job.failed}
        passed = full | self._pauses.peers()
        # As many of each origin as the free slots can take. If none of them can begin, all are looked at; now and then
        # in any case: behind many that wait for a busy site may be some that another site holds, too.
        self._looks += 1
        if self._looks % LOOKS_AT_FIRST:
            each = sum(max(slots.free, 0) for slots in self._slots.values()) * self._batches.files
            owed = await self._catalog.read(order.first_wanted, PAGE_WANTED, each, passed)
            if not owed:
                self._left = bool(passed)
                return self._looked(full)
            if begun := await self._jobs_of(owed, brought):
                # Where all that is wanted has begun, nothing follows.
                self._again = len(owed) >= min(each, PAGE_WANTED) or sum(len(job.owed) for job in begun) < len(owed)
                self._left = self._again or bool(passed)
                return begun
        after = order.FIRST
        for _ in range(LOOKED_AT):
            owed = await self._catalog.read(order.wanted_now, PAGE_WANTED, after, passed)
            if not owed:
                break
            after = owed[-1].place
            if begun := await self._jobs_of(owed, brought):
                return begun
        return self._looked(full)

    def _looked(self, full: Set[SiteName]) -> list[Job]:
        """Nothing can begin. If sites are full, the next look waits."""
        self._look_again_s = self._clock.boottime_s() + LOOK_AGAIN_S if full else 0.0
        return []

    async def _jobs_of(self, owed: Sequence[TransferView], brought: Set[int]) -> list[Job]:
        """New jobs out of these wanted transfers. Those of ``brought`` are passed by."""
        placing = await self._destinations.place([view for view in owed if view.id not in brought])
        owed = placing.owed
        await self._destinations.close_full(placing)
        jobs, hopeless = await self._grouped(placing)
        hopeless += placing.hopeless
        if not jobs and not hopeless:
            return []
        begun = await self._catalog.write(self._begin, placing, jobs, hopeless)
        await self._destinations.begun(placing, begun)
        # Others may follow; or what failed is due before anything else.
        self._again = bool(begun or hopeless)
        return begun

    async def _grouped(self, placing: Placing) -> tuple[list[Job], list[Transition]]:
        """As :meth:`Batches.choose`: what comes from other sites, then what comes from other stores of this one."""
        site = self._catalog.position.site
        owed = [view for view in placing.owed if view.id not in placing.local]
        files = [view.row.file_id for view in owed]
        adapters = [name for name in self._adapters if name != LOCAL.name]  # which no other site can offer
        found = await self._catalog.read(planning.find_sources, site, adapters, files)
        jobs, hopeless = self._batches.choose(owed, found)
        local = [view for view in placing.owed if view.id in placing.local]
        if local:
            files = [view.row.file_id for view in local]
            between = await self._catalog.read(planning.find_local_sources, site, files)
            more, without = self._batches.choose(local, between)
            jobs, hopeless = jobs + more, hopeless + without
        return jobs, hopeless

    def _written(self) -> dict[str, int]:
        """Bytes that running jobs have written into each store, of files that are not complete."""
        found: dict[str, int] = {}
        for job, _ in self._running.values():
            store = job.owed[0].row.store
            so_far = sum(self._progress.bytes.get(view.id, 0) for view in job.owed if view.id not in job.ended)
            found[store] = found.get(store, 0) + so_far
        return found

    def _begin(self, tx: Tx, placing: Placing, jobs: Sequence[Job], hopeless: Sequence[Transition]) -> list[Job]:
        transitions.apply_transitions(tx, hopeless, self._clock.boottime_s())
        going = destinations.begin(tx, placing, jobs)
        begun = [job for job in (self._started(tx, job) for job in going) if job.owed]
        for job in begun:
            batch_rows.open_batch(tx, job.id, job.source, job.source_store, job.offer, job.owed)
        return begun

    def _started(self, tx: Tx, job: Job) -> Job:
        """The job with the transfers that could be reserved and started."""
        chosen = {view.id: job.why.get(view.id, "") for view in job.owed}
        started = batch_rows.take(tx, job.id, job.source, job.adapter, chosen)
        return msgspec.structs.replace(job, owed=[view for view in job.owed if view.id in started])

    # ---- running ---------------------------------------------------------------------------------------

    async def _run_job(self, job: Job) -> None:
        started_s = self._clock.boottime_s()
        self._log.debug("job_started", job=job.id, peer=job.source, adapter=job.adapter, files=len(job.owed))
        store = self._stores[job.owed[0].row.store]
        fetcher = Fetcher(
            self._adapters[job.adapter],
            store,
            self._progress,
            lambda file_id: self._catalog.read(record.announced_members, file_id),
            lambda file_id: self._catalog.read(attributes.of_file, file_id),
        )
        arrived: asyncio.Queue[TransferView | None] = asyncio.Queue(maxsize=MAX_ARRIVED)
        failures, failed, all_stored = 0, list[Transition](), False
        scope = asyncio.timeout(None)
        try:
            async with asyncio.TaskGroup() as group:
                landing = group.create_task(self._land(job, store, arrived))
                try:
                    async with scope, aclosing(fetcher.fetch(job)) as outcomes:
                        self._fetching[job.id] = job, scope
                        async for owed, error in outcomes:
                            job.ended.add(owed.id)
                            if error is None:
                                await arrived.put(owed)
                                continue
                            failures += 1
                            job.failed.add(owed.id)
                            failed.append(self._failed(job, owed, error))
                            if len(failed) == MAX_FAILED:
                                await self._catalog.write(
                                    transitions.apply_transitions, failed, self._clock.boottime_s()
                                )
                                failed = []
                except TimeoutError:
                    if not scope.expired():
                        raise
                finally:
                    self._fetching.pop(job.id, None)
                await arrived.put(None)
                if failed:
                    await self._catalog.write(transitions.apply_transitions, failed, self._clock.boottime_s())
            all_stored = landing.result() == len(job.owed)
            if scope.expired():
                await self._let_go(job, store)
        finally:
            brought = self._progress.any(job)
            self._progress.forget(job)
            del self._running[job.id]
            self._slots[job.adapter].give_back(job.source)
            if self._left or not all_stored:
                self._wake.set()
        await self._catalog.write_later(lambda tx: batch_rows.close_batch(tx, job.id))
        if brought and job.source in self._unreachable:
            self._unreachable.discard(job.source)
            await self._catalog.write(transfers.hasten, job.source, self._clock.boottime_s())
            self._wake.set()
        seconds = self._clock.boottime_s() - started_s
        self._metrics.batch_seconds.labels(adapter=job.adapter).observe(seconds)
        told = self._log.info if failures else self._log.debug
        told("job_ended", job=job.id, peer=job.source, failed=failures, seconds=round(seconds, 3))

    async def _land(self, job: Job, store: Store, arrived: asyncio.Queue[TransferView | None]) -> int:
        """Land everything that arrived during the last landing. Returns how many files are stored."""
        stored = 0
        async for group in _groups(arrived):
            landed = await self._lander.land(
                store,
                [
                    Arrived(
                        owed=view,
                        source=job.source,
                        adapter=job.adapter,
                        batch=job.id,
                        other_source=view.id in job.has_other,
                        manifest_key=manifest_key(transfer_key(view.id)),
                    )
                    for view in group
                ],
            )
            if landed < len(group):
                self._destinations.rooms.doubt(store.id)
            stored += landed
        return stored

    def _failed(self, job: Job, owed: TransferView, error: LibrarianError) -> Transition:
        self._metrics.failed_attempts.labels(peer=job.source, reason=reason_of(error).value).inc()
        self._log.warning("attempt_failed", transfer=owed.id, name=owed.name, peer=job.source, error=error.message)
        progressed = self._progress.any(job)
        if reason_of(error) in STORE:
            self._destinations.rooms.doubt(owed.row.store)
        if reason_of(error) in LINK and not progressed:
            self._unreachable.add(job.source)
        return failure(owed, error, owed.id in job.has_other, progressed=progressed)


async def _groups(queue: asyncio.Queue[TransferView | None]) -> AsyncIterator[list[TransferView]]:
    """The content of the queue, as lists, until None comes."""
    ended = False
    while not ended:
        group: list[TransferView] = []
        view = await queue.get()
        while view is not None:
            group.append(view)
            if queue.empty():
                break
            view = queue.get_nowait()
        ended = view is None
        if group:
            yield group
