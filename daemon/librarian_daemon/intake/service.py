"""The intake service of one drop directory: looks, waits until things are complete, takes them, says what it does."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeVar

from structlog.typing import FilteringBoundLogger

from librarian_daemon.intake import claim
from librarian_daemon.intake.claim import Claimed
from librarian_daemon.intake.drop import Drop, claimed_path, parents, remove_empty, shown
from librarian_daemon.intake.exits import Exits
from librarian_daemon.intake.ingest import Ingest
from librarian_daemon.intake.scan import Candidate, Kind, Scanner, parent_of
from librarian_daemon.intake.waiting import NOT_READABLE, STILL_WRITTEN, Waiting
from librarian_daemon.intake.watch import Watcher
from librarian_daemon.ports import Clock, Incidents, Ledger, Rng, Store
from librarian_daemon.settings import IntakeSettings
from librarian_daemon.signals import Signal
from librarian_daemon.store.confined import opened
from librarian_daemon.store.threads import Threads
from librarian_protocol import backoff
from librarian_protocol.api import IntakeStatus, WaitingItem
from librarian_protocol.errors import LibrarianError, SiteError, StoreError

T = TypeVar("T")

BATCH_FILES = 500
BATCH_BYTES = 1 << 30
#: Directories remembered as emptied by us.
_EMPTIED = 10_000
_SHOWN = 20
#: Even where nothing is due; bounds how late a drop directory's going is seen.
_LONGEST_WAIT_S = 10.0
_SHORTEST_WAIT_S = 0.01
#: Between two attempts while paused: what stopped us, a full store for one, may end at any moment.
_LONGEST_PAUSE_S = 30.0


class Intake:
    """From one drop directory into one store."""

    def __init__(
        self,
        settings: IntakeSettings,
        store: Store,
        ledger: Ledger,
        incidents: Incidents,
        clock: Clock,
        rng: Rng,
        logger: FilteringBoundLogger,
    ) -> None:
        """Nothing is touched before :meth:`recover` or :meth:`run`."""
        self._settings = settings
        self._incidents = incidents
        self._clock = clock
        self._rng = rng
        self._log = logger
        self._drop = Drop(settings.path)
        self._threads = Threads("intake")
        self._scanner = Scanner(settings)
        self._waiting = Waiting(settings)
        self._signal = Signal()
        self._watcher = Watcher(self._signal)
        self._exits = Exits(self._drop, incidents, clock, rng, self._threads, logger, self._returned)
        self._ingest = Ingest(settings, self._drop, store, ledger, self._exits, rng, self._threads, logger)
        self._batch: list[Candidate] = []
        self._batch_bytes = 0
        #: Directories that we emptied, and when they may be removed.
        self._emptied: dict[bytes, float] = {}
        self._next_walk_s = 0.0
        #: Device and inode of the drop directory that was walked.
        self._identity: tuple[int, int] | None = None
        #: Set until what stands in ``.claimed`` was taken up: at the start and after every pause.
        self._interrupted = True
        self._failures = 0
        self._paused: LibrarianError | None = None
        #: When a pause ends for another attempt.
        self._retry_at_s = 0.0

    # ---- what others see ---------------------------------------------------------------------------------

    def snapshot(self) -> IntakeStatus:
        """How it is now."""
        if self._paused is not None:
            left_s = math.ceil(max(self._retry_at_s - self._clock.boottime_s(), 0.0))
            again = f"tried again in {left_s} s" if left_s else "tried again now"
            state, detail = "paused", f"{_reason(self._paused)}: {self._paused.message}; {again}"
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
            accepted=self._ingest.accepted,
            refused=self._exits.refused,
            waiting=len(self._waiting),
            waiting_items=[WaitingItem(name=shown(rel), reason=reason) for rel, reason in self._waiting.items(_SHOWN)],
        )

    async def recover(self) -> None:
        """Finish what a crash interrupted: the store's landing rows of intake, then all of ``.claimed``.

        To be called before any service runs. Where the store or the catalog does not do its work now,
        :meth:`run` goes on trying. Idempotent.
        """
        try:
            await self._threads.run(self._drop.prepare)
            await self._ingest.finish(everything=True)
            await self._take_up()
        except (StoreError, SiteError) as exc:
            await self._pause(exc)

    async def run(self) -> None:
        """Take in what is dropped, for ever. Whatever stops it for now is an incident, and ends by itself."""
        wanted = self._settings.watch
        try:
            if wanted == "inotify" or (wanted == "auto" and await self._has_events()):
                self._watcher.start()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watcher.run())
                group.create_task(self._rounds())
        finally:
            self._watcher.close()
            self._threads.close()

    async def _has_events(self) -> bool:
        try:
            await self._threads.run(self._drop.prepare)
            return await self._threads.run(self._drop.has_events)
        except StoreError:
            return False  # named by the first round

    # ---- rounds ------------------------------------------------------------------------------------------

    async def _rounds(self) -> None:
        while True:
            if self._paused is not None:
                await self._clock.sleep(max(self._retry_at_s - self._clock.boottime_s(), 0.0))
            try:
                identity = await self._threads.run(self._drop.identity)
                if identity != self._identity:  # something was mounted, or moved, in its place
                    self._identity, self._interrupted, self._next_walk_s = identity, True, 0.0
                if self._interrupted:
                    await self._threads.run(self._drop.prepare)
                    await self._ingest.finish(everything=False)
                    await self._take_up()
                await self._round()
                await self._resumed()
            except (StoreError, SiteError) as exc:
                await self._pause(exc)
                continue
            await self._signal.wait(self._wait_s())

    async def _round(self) -> None:
        """Look at all that may have changed, take what is complete, tidy."""
        now_s = self._clock.boottime_s()
        heard = self._watcher.take()
        if heard.walk or now_s >= self._next_walk_s:
            self._waiting.beyond = 0
            await self._look(dict.fromkeys(self._waiting.others(), False))
            await self._walk(b"", moved=False)
            await self._exits.resolve_cleared()
            if self._exits.left_claimed:
                self._exits.left_claimed = False
                await self._take_up()
            period_s = self._settings.walk_every_s if self._watcher.works else self._settings.poll_every_s
            self._next_walk_s = self._clock.boottime_s() + period_s
        looks: dict[bytes, bool] = dict.fromkeys(self._waiting.due(self._clock.boottime_s()), False)
        for path, moved in [*heard.directories.items(), *heard.paths.items()]:
            candidate = self._scanner.candidate_of(path)
            if candidate is None:
                continue
            if path in heard.directories and candidate == path and self._scanner.is_above_books(path):
                await self._walk(path, moved=moved)
            else:
                looks[candidate] = looks.get(candidate, False) or (moved and candidate == path)
        await self._look(looks)
        await self._take_batch()
        await self._remove_emptied()

    async def _walk(self, start: bytes, *, moved: bool) -> None:
        candidates = self._candidates(start)
        while portion := await self._threads.run(_portion, candidates):
            await self._judge(portion, moved=moved)

    def _candidates(self, start: bytes) -> Iterator[Candidate]:
        with self._drop.opened("walking the drop directory") as fd:
            yield from self._scanner.walk(fd, start, each_directory=self._watcher.add, unreadable=self._unreadable)

    def _unreadable(self, path: bytes) -> None:
        here = Candidate(path, Kind.ODD, 0, (0, 0, 0, 0, 0), 0)
        self._waiting.hold(here, NOT_READABLE, self._clock.boottime_s())

    async def _look(self, rels: Mapping[bytes, bool]) -> None:
        """Look at each; its value says whether it was renamed into place."""
        for portion in _batched(rels):
            found = await self._threads.run(self._look_at, portion)
            for moved in (True, False):
                await self._judge([one for one in found if one is not None and rels[one.rel] is moved], moved=moved)
            for rel, one in zip(portion, found, strict=True):
                if one is None:
                    self._waiting.forget(rel)

    def _look_at(self, rels: Sequence[bytes]) -> list[Candidate | None]:
        return [self._look_now(rel) for rel in rels]

    def _look_now(self, rel: bytes) -> Candidate | None:
        with self._drop.opened("looking at the drop directory") as fd:
            try:
                found = self._scanner.look(fd, rel)
                if found is not None and found.kind is Kind.BOOK and self._settings.complete == "marker":
                    with opened(fd, rel) as book:
                        self._watcher.add(book, rel)
            except OSError:
                return None  # gone, or changing at this moment: an event or the next walk brings it again
        return found

    async def _judge(self, found: Sequence[Candidate], *, moved: bool) -> None:
        """Take those that are complete, as soon as they make a batch; the others wait."""
        now_s, unix_s = self._clock.boottime_s(), self._clock.unix_s()
        complete: list[Candidate] = []
        for one in found:
            marked = False
            if one.kind is Kind.BOOK and self._settings.complete == "marker":
                marked = await self._threads.run(self._is_marked, one.rel)
            if self._waiting.judge(one, moved=moved, marked=marked, now_s=now_s, unix_s=unix_s):
                complete.append(one)
        if not complete:
            return
        written = await self._threads.run(claim.written_to, self._drop, complete)
        for one in complete:
            if one.rel in written:
                self._waiting.hold(one, STILL_WRITTEN, now_s)
                continue
            self._batch.append(one)
            self._batch_bytes += one.size_bytes
            # A book is a batch of its own: it may be larger than any.
            if one.kind is Kind.BOOK or len(self._batch) >= BATCH_FILES or self._batch_bytes >= BATCH_BYTES:
                await self._take_batch()

    def _is_marked(self, rel: bytes) -> bool:
        with self._drop.opened("looking for a marker") as fd:
            return self._scanner.has_marker(fd, rel)

    # ---- taking ------------------------------------------------------------------------------------------

    async def _take_batch(self) -> None:
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        if not batch:
            return
        unique = {found.rel: found for found in batch}
        name = self._rng.hex(16).encode()
        self._interrupted = True  # until this batch is at its end, whatever happens
        claims = await self._threads.run(claim.claim, self._drop, name, list(unique.values()))
        for claimed in claims.claimed:
            self._waiting.forget(claimed.rel)
        for rel, reason in claims.left:
            await self._left(unique[rel], reason)
        await self._take(name, claims.claimed)
        self._interrupted = False

    async def _take(self, batch: bytes, claimed: list[Claimed]) -> None:
        self._remember_emptied(one.rel for one in claimed)
        await self._ingest.take(claimed)
        await self._threads.run(claim.tidy, self._drop, batch)

    async def _left(self, found: Candidate, reason: str) -> None:
        if reason == "gone":
            self._waiting.forget(found.rel)
            return
        self._waiting.hold(found, reason, self._clock.boottime_s())
        path = f"{self._drop.path}/{shown(found.rel)}"
        await self._incidents.open(
            "intake-stuck",
            path,
            f"{path} cannot be taken in: {reason}",
            "give the daemon's user write access to it and its directory; it must stand on one filesystem",
        )

    async def _take_up(self) -> None:
        """Take what stands in ``.claimed``: it was complete when it was claimed."""
        batches = claim.batches(self._drop)
        while names := await self._threads.run(_portion, batches):
            for batch in names:
                found = self._claimed_in(batch)
                while portion := await self._threads.run(_batch_of, found):
                    await self._take(batch, [Claimed(batch, one.rel, one.kind) for one in portion])
                await self._threads.run(claim.tidy, self._drop, batch)
        self._interrupted = False

    def _claimed_in(self, batch: bytes) -> Iterator[Candidate]:
        with self._drop.opened("reading .claimed") as drop, opened(drop, claimed_path(batch)) as fd:
            yield from self._scanner.walk(fd, all_names=True)

    def _returned(self, rel: bytes) -> None:
        self._watcher.returned(rel)
        self._waiting.returned(rel, self._clock.boottime_s())

    # ---- emptied directories -----------------------------------------------------------------------------

    def _remember_emptied(self, taken: Iterable[bytes]) -> None:
        due_s = self._clock.boottime_s() + self._settings.quiet_s
        for rel in taken:
            parent = parent_of(rel)
            if parent and (parent in self._emptied or len(self._emptied) < _EMPTIED):
                self._emptied[parent] = due_s

    async def _remove_emptied(self) -> None:
        now_s = self._clock.boottime_s()
        due = [path for path, due_s in self._emptied.items() if now_s >= due_s]
        for path in due:
            del self._emptied[path]
        if due:
            await self._threads.run(self._remove_directories, due)

    def _remove_directories(self, paths: list[bytes]) -> None:
        """Each if it is empty, and what is empty above it then."""
        with self._drop.opened("removing emptied directories") as fd:
            for path in sorted(paths, key=len, reverse=True):
                for one in [path, *parents(path)]:
                    if not remove_empty(fd, one):
                        break

    # ---- pausing -----------------------------------------------------------------------------------------

    async def _pause(self, why: LibrarianError) -> None:
        """Stop for now. What is claimed stays claimed and is taken up again first."""
        self._batch, self._batch_bytes = [], 0
        self._interrupted = True
        self._failures += 1
        pause_s = min(backoff.delay_s(self._failures, self._settings.path), _LONGEST_PAUSE_S)
        self._retry_at_s = self._clock.boottime_s() + pause_s
        before, self._paused = self._paused, why
        if before is None or type(before) is not type(why):
            self._log.error("intake_paused", path=self._settings.path, reason=_reason(why), detail=why.message)
            if before is not None:
                await self._incidents.resolve(_reason(before), self._settings.path)
            await self._incidents.open(_reason(why), self._settings.path, f"intake is paused: {why.message}", why.hint)

    async def _resumed(self) -> None:
        paused, self._paused = self._paused, None
        self._failures = 0
        if paused is not None:
            await self._incidents.resolve(_reason(paused), self._settings.path)
            self._log.info("intake_resumed", path=self._settings.path, reason=_reason(paused))

    def _wait_s(self) -> float:
        now_s = self._clock.boottime_s()
        waits = [_LONGEST_WAIT_S, self._next_walk_s - now_s]
        quiet_s = self._waiting.next_due_s(now_s)
        if quiet_s is not None:
            waits.append(quiet_s)
        if self._emptied:
            waits.append(min(self._emptied.values()) - now_s)
        return max(min(waits), _SHORTEST_WAIT_S)


def _reason(error: LibrarianError) -> str:
    return error.kind.replace("_", "-")


def _batched(paths: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Paths in portions of a batch's length."""
    rest = iter(paths)
    while portion := list(islice(rest, BATCH_FILES)):
        yield portion


def _portion(found: Iterator[T]) -> list[T]:
    return list(islice(found, BATCH_FILES))


def _batch_of(found: Iterator[Candidate]) -> list[Candidate]:
    batch: list[Candidate] = []
    size_bytes = 0
    for one in found:
        batch.append(one)
        size_bytes += one.size_bytes
        if one.kind is Kind.BOOK or len(batch) >= BATCH_FILES or size_bytes >= BATCH_BYTES:
            break
    return batch
