"""The intake service of one drop directory: looks, waits until candidates are complete, ingests them, reports."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import TypeVar

from structlog.typing import FilteringBoundLogger

from librarian_daemon.config.settings import IntakeSettings
from librarian_daemon.fs.beneath import opened
from librarian_daemon.fs.threads import Threads
from librarian_daemon.intake.candidates import BEING_TAKEN, Candidates
from librarian_daemon.intake.contents import DropContents
from librarian_daemon.intake.directory import claims
from librarian_daemon.intake.directory.claimed import Claimed
from librarian_daemon.intake.directory.claims import NotClaimed, Replaced
from librarian_daemon.intake.directory.cleanup import Cleanup
from librarian_daemon.intake.directory.drop import Drop, claimed_path, shown
from librarian_daemon.intake.directory.ignore_report import IgnoreReport
from librarian_daemon.intake.directory.scanner import Candidate, Kind, Scanner, Unreadable
from librarian_daemon.intake.directory.survey import Survey
from librarian_daemon.intake.directory.watcher import Arrival, Watcher
from librarian_daemon.intake.drop_incidents import STUCK, DropIncidents, Refusals, pause_code
from librarian_daemon.intake.examined import Ready
from librarian_daemon.intake.exits import Exits
from librarian_daemon.intake.ingest import Batch, Ingest, Sealed
from librarian_daemon.intake.landing_queue import LandingQueue, Queued
from librarian_daemon.intake.lane import Lane
from librarian_daemon.ports.incidents import Incidents
from librarian_daemon.ports.ledger import Ledger
from librarian_daemon.ports.store import Store
from librarian_daemon.ports.time import Clock, Rng
from librarian_daemon.runtime.signals import Signal
from librarian_protocol import backoff, dropped
from librarian_protocol.api import IntakeStatus, WaitingItem
from librarian_protocol.dropped import Outstanding, Reason
from librarian_protocol.errors import SiteError, StoreError

T = TypeVar("T")

BATCH_FILES = 1000
BATCH_BYTES = 1 << 30
_SHOWN = 20
#: Longest wait when nothing is due; bounds how late the loss of a drop directory is noticed.
_LONGEST_WAIT_S = 10.0
_SHORTEST_WAIT_S = 0.01
#: Between two attempts while paused: the cause, such as a full store, may end at any moment.
_LONGEST_PAUSE_S = 30.0
#: Between two counts of ``.rejected``, and between two counts of what waits for a person.
_COUNT_EVERY_S = 60.0
_TELL_EVERY_S = 1.0
_IDENTIFIED_EVERY_S = 1.0
#: So long nothing is looked for while a batch lands: what comes meanwhile, one by one, is then claimed together. Each
#: batch costs several commits, and two at once slow each other down.
_GATHER_S = 0.05


class Intake:
    """From one drop directory into its stores: each batch into one of them."""

    def __init__(
        self,
        settings: IntakeSettings,
        stores: Sequence[Store],
        ledger: Ledger,
        incidents: Incidents,
        clock: Clock,
        rng: Rng,
        logger: FilteringBoundLogger,
        put_off: Callable[[], str] = str,
    ) -> None:
        """Nothing is touched before :meth:`recover` or :meth:`run`.

        ``put_off`` says why an operator has paused intake; "" if nobody has.
        """
        self._settings = settings
        self._incidents = incidents
        self._clock = clock
        self._rng = rng
        self._log = logger
        self._put_off = put_off
        self._drop = Drop(settings.path)
        self._threads = Threads("intake")
        self._scanner = Scanner(settings)
        self._candidates = Candidates(settings)
        self._signal = Signal()
        self._watcher = Watcher(self._signal)
        self.refusals = Refusals(self._drop, incidents, self._threads)
        self._stuck = DropIncidents(STUCK, settings.path, incidents)
        self._exits = Exits(self._drop, self.refusals, clock, rng, self._threads, logger, self._returned)
        self._ledger = ledger
        #: By the ids of their stores.
        self._ingests = {
            store.id: Ingest(
                settings,
                self._drop,
                store,
                ledger,
                self._exits,
                rng,
                self._threads,
                logger,
                [other for other in stores if other is not store],
            )
            for store in stores
        }
        self._ignored = IgnoreReport(self._drop, self._scanner)
        self._survey = Survey(
            self._drop, self._scanner, self._watcher, self._ignored, for_markers=settings.complete == "marker"
        )
        self.contents = DropContents(self._drop, self._ignored, self._threads, self._count_again)
        self._cleanup = Cleanup(self._drop, self._threads, settings.quiet_for_s)
        #: What was claimed and read, and has not begun to land; and what lands.
        self._queue = LandingQueue(BATCH_FILES, BATCH_BYTES)
        self._landing = Lane(self._landing_broke)
        self._placing = Lane()
        self._batch: list[tuple[Candidate, Arrival]] = []
        self._batch_bytes = 0
        self._next_walk_s = 0.0
        self._next_count_s = 0.0
        #: When it last reported what waits for a person.
        self._told_s = -_TELL_EVERY_S
        self._untold = False
        self._began_s = 0.0
        #: Device and inode of the drop directory that was walked, and when they are looked at again.
        self._identity: tuple[int, int] | None = None
        self._next_identity_s = 0.0
        #: Set until the content of ``.claimed`` has been taken: at the start and after every pause.
        self._interrupted = True
        #: Claimed paths that are not finished.
        self._taken: dict[bytes, None] = {}
        self._failures = 0
        self._paused: StoreError | SiteError | None = None
        #: When to try again while paused.
        self._retry_at_s = 0.0

    # ---- what others see ---------------------------------------------------------------------------------

    def snapshot(self) -> IntakeStatus:
        """The present state."""
        if self._paused is not None:
            left_s = math.ceil(max(self._retry_at_s - self._clock.boottime_s(), 0.0))
            again = f"tried again in {left_s} s" if left_s else "tried again now"
            state, detail = "paused", f"{pause_code(type(self._paused))}: {self._paused.message}; {again}"
        elif why := self._put_off():
            state, detail = "maintenance", why
        elif self._watcher.works:
            state, detail = "watching", ""
        else:
            state, detail = "polling", self._watcher.detail
        return IntakeStatus(
            path=self._settings.path,
            unit=self._settings.unit,
            complete=self._settings.complete,
            state=state,
            detail=detail,
            accepted=sum(ingest.accepted for ingest in self._ingests.values()),
            refused=self._exits.refused,
            waiting=len(self._candidates) + len(self._exits.left_claimed) + len(self._taken),
            waiting_items=list(islice(self._waiting_items(), _SHOWN)),
            waiting_for=self._waiting_for(),
            standing_refused=self.refusals.number,
            ignored=dict(self._ignored.counts),
        )

    def _waiting_items(self) -> Iterator[WaitingItem]:
        """What waits, and why. Claimed files, which a pause interrupts, come first."""
        for rel in self._taken:
            yield WaitingItem(name=shown(rel), reason=self._taken_reason())
        for path, reason in self._exits.left_claimed.items():
            yield WaitingItem(name=shown(path), reason=reason)
        for item in self._candidates.items(_SHOWN):
            yield WaitingItem(name=shown(item.rel), reason=item.reason, detail=item.detail)

    def _waiting_for(self) -> dict[str, int]:
        counts = Counter(self._candidates.by_reason())
        counts.update(reason.value for reason in self._exits.left_claimed.values())
        counts[self._taken_reason()] += len(self._taken)
        return dict(+counts)

    def _taken_reason(self) -> str:
        if self._paused is not None:
            return pause_code(type(self._paused))
        return Reason.PAUSED if self._put_off() else BEING_TAKEN

    async def recover(self) -> None:
        """Finish what a crash interrupted: the store's landing rows of intake, then all of ``.claimed``.

        To be called before any service runs. If the store or the catalog fails now, :meth:`run` tries again.
        Idempotent.
        """
        try:
            await self._threads.run(self._drop.prepare)
            for ingest in self._ingests.values():
                await ingest.finish(everything=True)
            await self._take_up_or_wait()
        except (StoreError, SiteError) as exc:
            await self._pause(exc)

    async def run(self) -> None:
        """Ingest what is dropped, for ever. Each error that pauses it is an incident, which ends by itself."""
        wanted, self._began_s = self._settings.watch, self._clock.boottime_s()
        try:
            if wanted == "inotify" or (wanted == "auto" and await self._has_events()):
                self._watcher.start()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watcher.run())
                group.create_task(self._rounds())
        finally:
            self._watcher.close()
            self._threads.close()

    def goes_on_from_another(self) -> None:
        """Another service of this directory was stopped during its work: finish that work first."""
        for ingest in self._ingests.values():
            ingest.doubt()

    async def ended(self) -> None:
        """It was removed from the configuration: resolve the incident of its pause."""
        if self._paused is not None:
            await self._incidents.resolve(pause_code(type(self._paused)), self._settings.path)

    async def _has_events(self) -> bool:
        try:
            await self._threads.run(self._drop.prepare)
            return await self._threads.run(self._drop.has_events)
        except StoreError:
            return False  # named by the first round

    # ---- rounds ------------------------------------------------------------------------------------------

    async def _rounds(self) -> None:
        try:
            await self._work()
        finally:
            self._interrupted = True  # whatever ended it: what is claimed is not finished
            await self._landing.stop()
            self._queue.clear()

    async def _work(self) -> None:
        while True:
            if self._paused is not None:
                await self._clock.sleep(max(self._retry_at_s - self._clock.boottime_s(), 0.0))
            try:
                if self._paused is not None or self._landing.failed:
                    await self._landing.ended()
                await self._identify()
                if self._interrupted:
                    await self._landing.ended()  # its batch is in .claimed, too
                    await self._threads.run(self._drop.prepare)
                    for ingest in self._ingests.values():
                        await ingest.finish(everything=False)
                    await self._take_up_or_wait()
                await self._round()
                if self._failures:
                    await self._landing.ended()
                    await self._resumed()
            except (StoreError, SiteError) as exc:
                await self._pause(await self._landing_failed() or exc)
                continue
            await self._signal.wait(self._wait_s())

    async def _identify(self) -> None:
        """Notice that another directory was mounted or moved to its place; a claim looks by itself, too."""
        now_s = self._clock.boottime_s()
        if self._identity is None or now_s >= self._next_identity_s:
            self._next_identity_s = now_s + _IDENTIFIED_EVERY_S
            identity = await self._threads.run(self._drop.identity)
            if identity != self._identity:
                self._identity, self._interrupted, self._next_walk_s = identity, True, 0.0

    def _landing_broke(self) -> None:
        self._queue.clear()
        self._signal.set()

    async def _landing_failed(self) -> StoreError | SiteError | None:
        """Wait for the batch that lands; why it failed."""
        try:
            await self._landing.ended()
        except (StoreError, SiteError) as exc:
            return exc
        return None

    async def _round(self) -> None:
        """Look at everything that may have changed, ingest what is complete, tidy. The last batch may still land."""
        now_s = self._clock.boottime_s()
        heard = self._watcher.take()
        if heard.walk or now_s >= self._next_walk_s:
            self._candidates.beyond = 0
            await self._look(dict.fromkeys(self._candidates.others(), Arrival.SEEN))
            self._ignored.begin()
            await self._walk(b"", Arrival.SEEN)
            self._ignored.end()
            if self._exits.left_claimed and not self._put_off():
                await self._landing.ended()  # its batch is in .claimed, too
                self._exits.left_claimed = {}
                await self._take_up()
            period_s = self._settings.walk_every_s if self._watcher.works else self._settings.poll_every_s
            self._next_walk_s = self._clock.boottime_s() + period_s
        looks: dict[bytes, Arrival] = dict.fromkeys(self._candidates.due(self._clock.boottime_s()), Arrival.SEEN)
        for path, arrival in [*heard.directories.items(), *heard.paths.items()]:
            candidate = self._scanner.candidate_of(path)
            if candidate is None:
                continue
            if path in heard.directories and candidate == path and self._scanner.is_above_books(path):
                await self._walk(path, arrival)
            elif candidate == path:
                looks[candidate] = arrival or looks.get(candidate, Arrival.SEEN)
            else:
                looks.setdefault(candidate, Arrival.SEEN)
        await self._look(looks)
        await self._take_batch()
        await self._landing.pause(_GATHER_S)
        await self._cleanup.remove(self._clock.boottime_s())
        await self._tell()

    def _count_again(self) -> None:
        self._next_count_s = 0.0
        self._signal.set()

    async def _tell(self) -> None:
        """Bring the incidents about this directory up to date."""
        now_s = self._clock.boottime_s()
        if now_s >= self._next_count_s:
            self._next_count_s = now_s + min(_COUNT_EVERY_S, self._settings.walk_every_s)
            await self._landing.ended()  # it refuses things, too
            await self.refusals.count()
        await self.refusals.tell()
        self._untold = now_s - self._told_s < _TELL_EVERY_S
        if not self._untold:
            self._told_s = now_s
            found = self._left_claimed() | self._candidates.outstanding(now_s, self._settings.path)
            # An incident from before the start is not over only because waiting times begin again.
            patience_s = dropped.PATIENCE * self._settings.quiet_for_s
            await self._stuck.tell(found, settled=now_s - self._began_s > patience_s)

    def _left_claimed(self) -> dict[str, Outstanding]:
        paths = [f"{self._settings.path}/{shown(path)}" for path in self._exits.left_claimed]
        if not paths:
            return {}
        return {"left-claimed": dropped.waiting(Reason.CANNOT_MOVE, len(paths), paths, at_least=False)}

    async def _walk(self, start: bytes, arrival: Arrival) -> bool:
        """Judge everything below a directory. Returns whether it could be read."""
        found, readable = self._survey.walk(start), True
        while portion := await self._threads.run(_portion, found):
            readable = readable and not any(isinstance(item, Unreadable) and item.rel == start for item in portion)
            await self._judge(self._readable(portion), arrival)
        return readable

    def _readable(self, found: Iterable[Candidate | Unreadable]) -> list[Candidate]:
        """The readable candidates; each of the others waits."""
        now_s = self._clock.boottime_s()
        readable: list[Candidate] = []
        for item in found:
            if isinstance(item, Candidate):
                readable.append(item)
            else:
                self._candidates.hold(item.rel, Reason.NOT_READABLE, now_s, detail=item.why)
        return readable

    async def _look(self, rels: Mapping[bytes, Arrival]) -> None:
        """Look at each path; its value says how it arrived."""
        for portion in _batched(rels):
            found = await self._threads.run(self._survey.look_at, [(rel, rels[rel]) for rel in portion])
            for arrival in Arrival:
                readable = self._readable(item for item, how in found if not isinstance(item, bytes) and how is arrival)
                await self._judge(readable, arrival)
            for rel, (item, how) in zip(portion, found, strict=True):
                # A path: a directory that holds candidates and may have become readable.
                if isinstance(item, bytes) and (not item or await self._walk(rel, how)):
                    self._candidates.forget(rel)

    async def _judge(self, found: Sequence[Candidate], arrival: Arrival) -> None:
        """Ingest complete candidates as soon as they fill a batch; the others wait."""
        now_s, unix_s = self._clock.boottime_s(), self._clock.unix_s()
        complete: list[Candidate] = []
        for candidate in found:
            marked = False
            if candidate.kind is Kind.BOOK and self._settings.complete == "marker":
                marked = await self._threads.run(self._survey.is_marked, candidate.rel)
            if self._candidates.judge(candidate, arrival=arrival, marked=marked, now_s=now_s, unix_s=unix_s):
                complete.append(candidate)
        if not complete:
            return
        for candidate in complete:
            self._batch.append((candidate, arrival))
            self._batch_bytes += candidate.size_bytes
            # A book is a batch of its own: it may be larger than any.
            if candidate.kind is Kind.BOOK or len(self._batch) >= BATCH_FILES or self._batch_bytes >= BATCH_BYTES:
                await self._take_batch()

    def _hold(self, candidate: Candidate, not_claimed: NotClaimed, arrival: Arrival) -> None:
        if not_claimed.reason is None:
            self._candidates.forget(candidate.rel)
            return
        now_s = self._clock.boottime_s()
        self._candidates.hold(
            candidate.rel,
            not_claimed.reason,
            now_s,
            detail=not_claimed.detail,
            fingerprint=candidate.fingerprint,
            moved=not_claimed.complete or arrival is Arrival.MOVED,
        )

    # ---- claiming and ingesting ------------------------------------------------------------------------------

    async def _take_batch(self) -> None:
        """Claim and read the batch while those before it land; then it lands beside what the caller does next."""
        batch, size_bytes = self._batch, self._batch_bytes
        self._batch, self._batch_bytes = [], 0
        if not batch:
            return
        unique = {found.rel: (found, arrival) for found, arrival in batch}
        if self._put_off():
            for found, arrival in unique.values():
                self._hold(found, NotClaimed(found.rel, Reason.PAUSED, complete=True), arrival)
            return
        if self._identity is None:
            return  # the next round walks
        name = self._rng.hex(16).encode()
        ingest = self._ingests[await self._choose(size_bytes)]
        try:
            with self._watcher.not_read():
                made = await self._threads.run(
                    ingest.claim, self._identity, name, [found for found, _ in unique.values()]
                )
        except Replaced:
            self._identity, self._next_walk_s = None, 0.0
            return
        for claimed in made.claimed:
            self._candidates.forget(claimed.rel)
        for not_claimed in made.left:
            found, arrival = unique[not_claimed.rel]
            self._hold(found, not_claimed, arrival)
        ready = await self._examine(made)
        await self._queue.put(name, made, ready)
        if not self._landing.busy:
            await self._landing.ended()
            self._landing.begin(self._land_queued())

    async def _choose(self, size_bytes: int) -> str:
        """Id of the store that takes so much."""
        stores = list(self._ingests)
        return stores[0] if len(stores) == 1 else await self._ledger.choose(stores, size_bytes)

    async def _take(self, batch: bytes, claimed: list[Claimed], size_bytes: int) -> None:
        made = Batch(store=await self._choose(size_bytes), claimed=claimed)
        await self._queue.put(batch, made, await self._examine(made))
        await self._land_queued()

    async def _examine(self, batch: Batch) -> list[Ready]:
        self._cleanup.remember((item.rel for item in batch.claimed), self._clock.boottime_s())
        self._taken |= dict.fromkeys(item.rel for item in batch.claimed)
        return await self._ingests[batch.store].examine(batch)

    async def _land_queued(self) -> None:
        """One batch becomes durable while the one before it is placed."""
        last = Sealed()
        try:
            while self._queue or self._placing.busy:
                if not self._queue:
                    await self._queue.changed()
                    continue
                queued = self._queue.take()
                if last.decides(queued.ready):
                    await self._placing.ended()
                try:
                    sealed = await self._ingests[queued.batch.store].seal(queued.ready, queued.batch)
                finally:
                    await self.refusals.tell()
                await self._placing.ended()
                last = sealed
                self._placing.begin(self._place(queued, sealed))
            await self._placing.ended()
        except (StoreError, SiteError):
            with suppress(StoreError, SiteError):
                await self._placing.ended()
            raise
        finally:
            await self._placing.stop()

    async def _place(self, queued: Queued, sealed: Sealed) -> None:
        try:
            try:
                await self._ingests[queued.batch.store].place(sealed)
            finally:
                await self.refusals.tell()
            for item in queued.batch.claimed:
                self._taken.pop(item.rel, None)
            await self._threads.run(_tidy, self._drop, queued.names)
        finally:
            self._queue.look_again()

    def look_again(self) -> None:
        """A pause by an operator began or ended: everything that waits is looked at now."""
        self._next_walk_s = 0.0
        self._signal.set()

    async def _take_up_or_wait(self) -> None:
        """During a pause by an operator claimed files stay claimed, and are shown as waiting."""
        if not self._put_off():
            await self._take_up()
        elif not self._taken:
            batches = claims.batches(self._drop)
            while names := await self._threads.run(_portion, batches):
                for batch in names:
                    found = self._claimed_in(batch)
                    while portion := await self._threads.run(_portion, found):
                        self._taken |= dict.fromkeys(candidate.rel for candidate in portion)

    async def _take_up(self) -> None:
        """Ingest the content of ``.claimed``: it was complete when it was claimed."""
        batches = claims.batches(self._drop)
        while names := await self._threads.run(_portion, batches):
            for batch in names:
                found = self._claimed_in(batch)
                while portion := await self._threads.run(_batch_of, found):
                    size_bytes = sum(candidate.size_bytes for candidate in portion)
                    claimed = [Claimed(batch, candidate.rel, candidate.kind) for candidate in portion]
                    await self._take(batch, claimed, size_bytes)
                await self._threads.run(claims.tidy, self._drop, batch)
        self._taken.clear()
        self._interrupted = False

    def _claimed_in(self, batch: bytes) -> Iterator[Candidate]:
        with self._drop.opened("reading .claimed") as drop, opened(drop, claimed_path(batch)) as fd:
            for item in self._scanner.walk(fd, all_names=True):
                if isinstance(item, Candidate):
                    yield item
                else:  # it cannot be read, so it cannot be moved: it stays, and hides no other
                    self._exits.left_claimed[claimed_path(batch, item.rel)] = Reason.NOT_READABLE

    def _returned(self, rel: bytes, reason: Reason) -> None:
        self._watcher.returned(rel)
        self._candidates.returned(rel, reason, self._clock.boottime_s())

    # ---- pausing -----------------------------------------------------------------------------------------

    async def _pause(self, why: StoreError | SiteError) -> None:
        """Pause. Claimed files stay claimed and are ingested first afterwards."""
        self._batch, self._batch_bytes = [], 0
        self._queue.clear()
        self._interrupted, self._identity = True, None
        self._failures += 1
        if isinstance(why, StoreError):
            for store in self._ingests:
                self._ledger.doubt(store)
        pause_s = min(backoff.delay_s(self._failures, self._settings.path), _LONGEST_PAUSE_S)
        self._retry_at_s = self._clock.boottime_s() + pause_s
        before, self._paused = self._paused, why
        if before is None or type(before) is not type(why):
            self._log.error("intake_paused", path=self._settings.path, reason=pause_code(type(why)), detail=why.message)
            if before is not None:
                await self._incidents.resolve(pause_code(type(before)), self._settings.path)
            await self._incidents.open(
                pause_code(type(why)), self._settings.path, f"intake is paused: {why.message}", why.hint
            )

    async def _resumed(self) -> None:
        paused, self._paused = self._paused, None
        self._failures = 0
        if paused is not None:
            await self._incidents.resolve(pause_code(type(paused)), self._settings.path)
            self._log.info("intake_resumed", path=self._settings.path, reason=pause_code(type(paused)))

    def _wait_s(self) -> float:
        now_s = self._clock.boottime_s()
        waits = [_LONGEST_WAIT_S, self._next_walk_s - now_s]
        told_s = self._told_s + _TELL_EVERY_S - now_s if self._untold else self._candidates.next_told_s(now_s)
        due = (self._candidates.next_due_s(now_s), told_s, self._cleanup.next_due_s(now_s))
        waits += [wait_s for wait_s in due if wait_s is not None]
        return max(min(waits), _SHORTEST_WAIT_S)


def _tidy(drop: Drop, batches: Iterable[bytes]) -> None:
    for batch in batches:
        claims.tidy(drop, batch)


def _batched(paths: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Paths in portions of the size of a batch."""
    rest = iter(paths)
    while portion := list(islice(rest, BATCH_FILES)):
        yield portion


def _portion(found: Iterator[T]) -> list[T]:
    return list(islice(found, BATCH_FILES))


def _batch_of(found: Iterator[Candidate]) -> list[Candidate]:
    batch: list[Candidate] = []
    size_bytes = 0
    for candidate in found:
        batch.append(candidate)
        size_bytes += candidate.size_bytes
        if candidate.kind is Kind.BOOK or len(batch) >= BATCH_FILES or size_bytes >= BATCH_BYTES:
            break
    return batch
