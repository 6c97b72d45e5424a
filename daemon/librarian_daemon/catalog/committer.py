"""The catalog: many units of work in one durable transaction, each with the journal entries that tell of it.

A unit of work is a function of a :class:`~librarian_daemon.catalog.transaction.Tx`. All of a group commits together, so
durability costs one fsync a group, and nothing is ever true in the tables, the journal or the outbox only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import msgspec
import structlog
from sqlalchemy import Connection, func, select

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.database import Database
from librarian_daemon.catalog.meta import get_locked_meta, put_meta
from librarian_daemon.catalog.transaction import Failed, Group, OutgoingSegment, Refused, Tx, run_alone, run_unit
from librarian_daemon.ports.time import Clock
from librarian_daemon.runtime.signals import Broadcast, Signal
from librarian_protocol.entries import Entry
from librarian_protocol.errors import AlreadyRunning, LibrarianError, SegmentInvalid
from librarian_protocol.journal_state import NOT_COUNTING
from librarian_protocol.keys import SiteKey
from librarian_protocol.names import SiteName
from librarian_protocol.segments import NO_HASH, Position

P = ParamSpec("P")
T = TypeVar("T")
#: Units in one transaction, and units that may wait; beyond that callers wait to hand in.
GROUP = 64
#: Segments of this site that are kept in memory for the publisher.
FRESH = 32
#: Units of segments of other sites in one transaction (each with one or two): each can take as long as all the rest.
SEGMENTS = 2
#: How long a group waits for company, when the one before it was not alone (docs/architecture.md).
COMPANY_S = 0.005
#: So long the planner is not told of files that landed where no subscription is to: together they cost it one look.
LANDED_S = 1.0
#: So long at most a unit that nobody waits for waits for a group that it can go with.
LATER_S = 0.1
#: A commit that takes longer is reported: another process holds the catalog, or its disk hangs.
SLOW_S = 2.0


class Planning(Protocol):
    """Plans files that landed, in the transaction that applies what tells of them."""

    def plan(self, tx: Tx) -> Any:
        """What follows of the files that changed. Repeatable."""
        ...

    def planned(self, outcome: Any) -> bool:
        """It is committed. Returns whether nothing of what changed is left."""
        ...


class _Unit:
    """A unit of work and whoever waits for it."""

    def __init__(self, work: Callable[[Tx], Any], result: asyncio.Future[Any], *, behind: bool) -> None:
        self.work = work
        self.result = result
        self.behind = behind


class Catalog:
    """The site's catalog. Reads run beside writes; writes are grouped.

    ``journaled`` is set when segments or letters wait for the bus, ``changed`` when files wait for the planner: for
    those that land at other sites than the ``pressing`` ones, a moment later.
    """

    def __init__(self, database: Database, clock: Clock, key: SiteKey) -> None:
        self._database = database
        self._clock = clock
        self._key = key
        self._queue: asyncio.Queue[_Unit] = asyncio.Queue(maxsize=4 * GROUP)
        #: Those of :meth:`write_behind`; and whether one stands in either of the two.
        self._behind: asyncio.Queue[_Unit] = asyncio.Queue(maxsize=GROUP)
        self._handed_in = asyncio.Event()
        #: Those of :meth:`write_later`; what ends their waiting; and whether it has ended.
        self._later: list[_Unit] = []
        self._later_until: asyncio.TimerHandle | None = None
        self._later_due = False
        #: Groups and a new incarnation do not overlap.
        self._exclusive = asyncio.Lock()
        self._position: Position | None = None
        self._change = 0
        #: Why the last commit failed, or that the present one takes long; "" if neither is so.
        self._failed = ""
        self._slow = ""
        self._log = structlog.get_logger("catalog")
        self._watched: list[tuple[frozenset[type[Entry]], Signal]] = []
        #: See :meth:`fresh`.
        self._fresh: list[OutgoingSegment] | None = None
        self.journaled = Signal()
        self.changed = Signal()
        #: Sites whose files the planner waits for; None: all.
        self.pressing: Container[SiteName] | None = None
        self._landed: asyncio.TimerHandle | None = None
        self._planning: Planning | None = None
        #: Set after every commit that added to the record.
        self.recorded = Broadcast()

    def watch(self, signal: Signal, *kinds: type[Entry]) -> None:
        """Set the signal after each commit in which an entry of these kinds was applied."""
        self._watched.append((frozenset(kinds), signal))

    def watch_no_more(self, signal: Signal) -> None:
        """Undo :meth:`watch`."""
        self._watched = [(kinds, watching) for kinds, watching in self._watched if watching is not signal]

    def plan_with(self, planning: Planning) -> None:
        """Files that land at the ``pressing`` sites are planned by it at once; ``changed`` is set for all else."""
        self._planning = planning

    def use_key(self, key: SiteKey) -> None:
        """Sign with this key from the next commit on."""
        self._key = key

    @property
    def trouble(self) -> str:
        """Why nothing can be written at present; "" if the last commit succeeded and none takes long."""
        return self._failed or self._slow

    @property
    def public_key(self) -> str:
        """What others verify the next commit with."""
        return self._key.public

    @property
    def position(self) -> Position:
        """Where this site's journal ends.

        Raises:
            RuntimeError: no incarnation was begun.
        """
        if self._position is None:
            raise RuntimeError("no incarnation was begun")
        return self._position

    async def begin(self, position: Position) -> None:
        """Begin an incarnation: from here on entries continue the journal's end under it.

        ``position`` gives site, epoch and incarnation. Where the journal ends is read here: from now on no daemon of an
        earlier incarnation can add to it. Also while the committer runs: groups before it end first.
        """

        def work(connection: Connection) -> tuple[Position, int]:
            put_meta(connection, "incarnation", position.incarnation)
            put_meta(connection, "epoch", str(position.epoch))
            put_meta(connection, "site", position.site)
            seq, last = end_of_journal(connection, position.site)
            return _standing_now(connection, msgspec.structs.replace(position, seq=seq, hash=last))

        async with self._exclusive:
            self._fresh = None
            self._position, self._change = await self._database.write(work)

    def fresh(self) -> list[OutgoingSegment] | None:
        """This site's segments that were committed since the last call. For one caller.

        None where what waits for the bus is to be read: there are letters, or many segments, or nobody knows.
        """
        fresh, self._fresh = self._fresh, []
        return fresh

    async def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function that only reads."""
        return await self._database.read(work, *args, **kwargs)

    async def write(self, work: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a unit of work in the next group; returns when it is durable.

        A unit that raises is rolled back alone. If the commit fails, every unit of the group raises
        :class:`CatalogFault`; a unit may then have been committed all the same (a lost reply), so units are
        written to be repeatable.
        """

        def call(tx: Tx) -> T:
            return work(tx, *args, **kwargs)

        return await self._done(self._queue, call, behind=False)

    async def write_behind(self, work: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As :meth:`write`, for long units that nobody here waits for: few of them in a group, behind the others."""

        def call(tx: Tx) -> T:
            return work(tx, *args, **kwargs)

        return await self._done(self._behind, call, behind=True)

    def write_later(self, work: Callable[[Tx], T]) -> asyncio.Future[T]:
        """As :meth:`write`, for what nobody waits for: it goes with the next group, or alone after :data:`LATER_S`."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()
        self._later.append(_Unit(work, result, behind=True))
        if self._later_until is None:
            self._later_until = loop.call_later(LATER_S, self._no_later)
        return result

    def _no_later(self) -> None:
        self._later_due = True
        self._handed_in.set()

    async def _done(self, queue: asyncio.Queue[_Unit], call: Callable[[Tx], T], *, behind: bool) -> T:
        result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        await queue.put(_Unit(call, result, behind=behind))
        self._handed_in.set()
        done: T = await result
        return done

    async def run(self) -> None:
        """The committer."""
        alone = True
        while True:
            first = await self._first()
            units, later = [] if first is None else [first], list[_Unit]()
            try:
                if not alone:
                    await self._clock.sleep(COMPANY_S)
                segments_left = SEGMENTS - (first is not None and first.behind)
                while len(units) < GROUP and not self._queue.empty():
                    units.append(self._queue.get_nowait())
                while segments_left and not self._behind.empty():
                    units.append(self._behind.get_nowait())
                    segments_left -= 1
                units.sort(key=lambda unit: unit.behind)
                alone = len(units) <= 1
                later = self._take_later()
                await self._commit([*units, *later])
            finally:
                for unit in (*units, *later):
                    if not unit.result.done():
                        unit.result.cancel()

    async def _first(self) -> _Unit | None:
        """The first unit of a group; None for a group of what waited long enough for another."""
        while self._queue.empty() and self._behind.empty():
            self._handed_in.clear()
            if self._later_due:
                return None
            await self._handed_in.wait()
        return (self._behind if self._queue.empty() else self._queue).get_nowait()

    def _take_later(self) -> list[_Unit]:
        if self._later_until is not None:
            self._later_until.cancel()
        self._later_until, self._later_due = None, False
        later, self._later = self._later, []
        return later

    async def _commit(self, units: list[_Unit]) -> None:
        async with self._exclusive:
            await self._commit_group(units)

    async def _commit_group(self, units: list[_Unit]) -> None:
        group = Group(self.position, self._change, self._clock.utc(), self.pressing)

        def work(connection: Connection) -> tuple[list[Any], Any, Position]:
            # The lock keeps a newcomer from beginning before this is committed.
            mine = get_locked_meta(connection, "incarnation")
            if mine != group.position.incarnation:
                raise AlreadyRunning(f"another daemon (incarnation {mine}) has taken over this catalog")
            if len(units) == 1:
                outcomes = [run_alone(connection, group, units[0].work)]
            else:
                outcomes = [run_unit(connection, group, unit.work) for unit in units]
            plan: Any = None
            if self._planning is not None and group.pressing and not group.beside:
                plan = run_unit(connection, group, self._planning.plan)
            return outcomes, plan, group.seal(connection, self._key)

        slow = asyncio.get_running_loop().call_later(SLOW_S, self._is_slow)
        try:
            outcomes, plan, position = await self._database.write(work)
        except AlreadyRunning:
            raise
        except Refused as exc:
            _fail(units[0], exc.error)
            return
        except SegmentInvalid as exc:
            # Nothing was committed: one unit appended an invalid entry. Each unit is run alone, so that only that one
            # fails.
            if len(units) == 1:
                _fail(units[0], exc)
            else:
                for unit in units:
                    await self._commit_group([unit])
            return
        except LibrarianError as exc:
            self._failed = exc.message
            self._log.error("commit_failed", units=len(units), error=exc.message)
            for unit in units:
                _fail(unit, exc)
            await self._reload()
            return
        finally:
            slow.cancel()
            self._slow = ""
        if self._failed:
            self._failed = ""
            self._log.info("commits_again")
        said, changed = position.seq > self.position.seq, group.change > self._change
        self._position, self._change = position, group.change
        for unit, outcome in zip(units, outcomes, strict=True):
            if isinstance(outcome, Failed):
                _fail(unit, outcome.error)
            elif not unit.result.done():
                unit.result.set_result(outcome)
        if said or group.mailed:
            fresh = None if group.mailed or self._fresh is None else [*self._fresh, *group.sealed]
            self._fresh = None if fresh is None or len(fresh) > FRESH else fresh
            self.journaled.set()
        is_planned = self._is_planned(plan)
        if changed and group.pressing:
            if not is_planned:
                self.changed.set()
        elif changed and self._landed is None:
            self._landed = asyncio.get_running_loop().call_later(LANDED_S, self._told_of_landed)
        if group.kinds:
            self.recorded.set()
        for kinds, signal in self._watched:
            if kinds & group.kinds:
                signal.set()

    def _is_planned(self, plan: Any) -> bool:
        """Whether a group's planning, if there was any, left nothing for the planner's own turn."""
        if self._planning is None or plan is None or isinstance(plan, Failed):
            return False
        return self._planning.planned(plan)

    def _told_of_landed(self) -> None:
        self._landed = None
        self.changed.set()

    def _is_slow(self) -> None:
        self._slow = f"a commit has not ended for {SLOW_S:g} s"
        self._log.error("commit_slow", seconds=SLOW_S)

    async def _reload(self) -> None:
        """After a failed commit the state is unknown: read where journal and changes really end."""
        self._fresh = None
        while True:
            try:
                self._position, self._change = await self._database.read(_standing_now, self.position)
            except LibrarianError as exc:
                self._log.error("catalog_unreachable", error=exc.message)
                await self._clock.sleep(1.0)
                continue
            return


def _fail(unit: _Unit, error: LibrarianError) -> None:
    if not unit.result.done():
        unit.result.set_exception(error)


def _standing_now(connection: Connection, position: Position) -> tuple[Position, int]:
    """The same incarnation where it really ends, and the last change number."""
    journal = schema.journal.c
    row = connection.execute(
        select(journal.last_seq, journal.hash)
        .where(journal.site == str(position.site), journal.incarnation == position.incarnation)
        .order_by(journal.first_seq.desc())
        .limit(1)
    ).first()
    change = connection.scalar(select(func.coalesce(func.max(schema.file.c.change), 0))) or 0
    if row is not None:
        position = msgspec.structs.replace(position, seq=row.last_seq, hash=row.hash)
    return position, change


def end_of_journal(connection: Connection, site: str) -> tuple[int, str]:
    """Number of the last entry and hash of the last segment of a site's journal here; (0, zeros) for none."""
    journal = schema.journal.c
    row = connection.execute(
        select(journal.last_seq, journal.hash)
        .where(journal.site == site, journal.state.not_in(NOT_COUNTING))
        .order_by(journal.epoch.desc(), journal.first_seq.desc())
        .limit(1)
    ).first()
    return (row.last_seq, row.hash) if row else (0, NO_HASH)
