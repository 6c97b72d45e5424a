"""The catalog: many units of work in one durable transaction, each with the journal entries that tell of it.

A unit of work is a function of a :class:`Tx`. It changes local tables directly and says what happened with
:meth:`Tx.append`, which applies the entries at once; when the group ends, they are cut into segments, signed and put
into journal and outbox. All of it commits together, so durability costs one fsync a group, and nothing is ever true
in one of the three places only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Iterable
from itertools import groupby
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import msgspec
import structlog
import zstandard
from sqlalchemy import Connection, bindparam, func, insert, select

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.apply import Said, apply, conflicts
from librarian_daemon.catalog.cursors import advance
from librarian_daemon.catalog.database import Database
from librarian_daemon.catalog.upserts import chunks, replacing
from librarian_daemon.ports.time import Clock
from librarian_daemon.runtime.signals import Broadcast, Signal
from librarian_protocol.entries import Entry, FileAttributed, FileIngested, InstanceRegistered
from librarian_protocol.errors import AlreadyRunning, CatalogFault, LibrarianError, SegmentInvalid
from librarian_protocol.journal_state import NOT_COUNTING, JournalState
from librarian_protocol.keys import Purpose, SiteKey
from librarian_protocol.names import SiteName
from librarian_protocol.segments import MAX_SEGMENT_BYTES, NO_HASH, Position, cut, following

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
#: What sites say of files that land.
_LANDED = (FileAttributed, FileIngested, InstanceRegistered)
#: So long at most a unit that nobody waits for waits for a group that it can go with.
LATER_S = 0.1
#: A commit that takes longer is reported: another process holds the catalog, or its disk hangs.
SLOW_S = 2.0
#: Of zstd. Segments take 0.4 µs an entry and 23 kB; with the usual level 3 twice the time, and a fifth more room.
_LEVEL = 1
_WRITE = insert(schema.journal).returning(schema.journal.c.position)
_SEND = insert(schema.outbox)


class OutgoingSegment(msgspec.Struct, frozen=True, kw_only=True):
    """A segment of this site that the bus has not acknowledged."""

    #: In the journal: later ones have greater ones.
    position: int
    kind: str
    hash: str
    signature: str
    payload: bytes


class Tx:
    """One unit of work inside a group's transaction."""

    def __init__(self, connection: Connection, group: _Group) -> None:
        self.connection = connection
        self._group = group

    @property
    def now(self) -> str:
        """The time that the group's entries are stamped with."""
        return self._group.at

    @property
    def position(self) -> Position:
        """Where this site's journal ended before the group."""
        return self._group.position

    def append(self, *entries: Entry, planned: bool = True) -> None:
        """Append to this site's journal and apply at once. The entries of one call are of one kind.

        Without ``planned`` the planner does not look at their files again. All of them are known here, and somebody
        was known to have each.
        """
        if entries:
            self._group.append(self.connection, entries, planned=planned)

    def apply_said(self) -> None:
        """Apply once more what the group has appended so far, which is not in the journal yet."""
        self._group.apply_said(self.connection)

    def apply_foreign(self, entries: list[Entry], said_by: Said) -> None:
        """Apply another site's entries, which are in the journal already. They are of one kind."""
        if entries:
            self._group.heard(entries[0], said_by.site)
            self._group.change += 1
            apply(self.connection, entries, msgspec.structs.replace(said_by, change=self._group.change))

    @property
    def site(self) -> SiteName:
        """This site."""
        return self._group.position.site

    def mailed(self) -> None:
        """Note that a letter was written: the publisher is woken when this is committed."""
        self._group.mailed = True

    def recompute_conflicts(self, names: Iterable[str]) -> None:
        """Compute again what these names mean."""
        for page in chunks(names):
            conflicts(self.connection, page, self.next_change())

    def next_change(self) -> int:
        """A change number greater than all before: the planner will look at the files that carry it."""
        self._group.pressing = self._group.beside = True
        self._group.change += 1
        return self._group.change


class _Group:
    """What a transaction has said so far."""

    def __init__(self, position: Position, change: int, at: str, pressing: Container[SiteName] | None = None) -> None:
        """``pressing``: sites whose files the planner waits for; None: all."""
        self._pressing_sites = pressing
        self.position = position
        self.change = change
        self.at = at
        self.entries: list[Entry] = []
        self.sealed: list[OutgoingSegment] = []
        self.kinds: set[type[Entry]] = set()
        self.mailed = False
        #: More changed than that files landed at sites that no subscription here is to.
        self.pressing = False
        #: Something else changed than that files landed.
        self.beside = False

    def heard(self, entry: Entry, by: SiteName) -> None:
        """Note that entries like this one are applied, and that the planner is to look at their files."""
        self.kinds.add(type(entry))
        self.beside |= not isinstance(entry, _LANDED)
        self.pressing |= self.beside or self._pressing_sites is None or by in self._pressing_sites

    def append(self, connection: Connection, entries: tuple[Entry, ...], *, planned: bool = True) -> None:
        first = self.position.seq + len(self.entries) + 1
        numbered = [msgspec.structs.replace(entry, seq=first + i, at=self.at) for i, entry in enumerate(entries)]
        if planned:
            self.change += 1
            self.heard(entries[0], self.position.site)
        else:
            self.kinds.add(type(entries[0]))
        said = Said(
            site=self.position.site,
            epoch=self.position.epoch,
            incarnation=self.position.incarnation,
            change=self.change,
        )
        apply(connection, numbered, said, planned=planned)
        self.entries.extend(numbered)

    def apply_said(self, connection: Connection) -> None:
        self.pressing = self.beside = True
        for _, same in groupby(self.entries, key=type):
            self.change += 1
            said = Said(
                site=self.position.site,
                epoch=self.position.epoch,
                incarnation=self.position.incarnation,
                change=self.change,
            )
            apply(connection, list(same), said)

    def seal(self, connection: Connection, key: SiteKey) -> Position:
        """Cut, sign and write the segments; where the journal ends now."""
        position = self.position
        for done in cut(position, self.entries, self.at):
            signature = key.sign(Purpose.SEGMENT, done.payload)
            row = {
                "site": str(position.site),
                "epoch": position.epoch,
                "incarnation": position.incarnation,
                "first_seq": done.segment.first_seq,
                "last_seq": done.segment.last_seq,
                "kind": done.segment.kind,
                "prev": done.segment.prev,
                "hash": done.hash,
                "signature": signature,
                "key": key.public,
                "payload": compress(done.payload),
                "state": JournalState.APPLIED,
                "received_at": self.at,
            }
            at = connection.execute(_WRITE, row).scalar_one()
            connection.execute(_SEND, {"position": at})
            self.sealed.append(
                OutgoingSegment(
                    position=at,
                    kind=done.segment.kind,
                    hash=done.hash,
                    signature=signature,
                    payload=done.payload,
                )
            )
            position = following(position, done)
        if position.seq > self.position.seq:
            advance(connection, position.site, position.epoch, position.incarnation, position.seq, position.hash)
        return position


def silent(connection: Connection, site: SiteName, change: int, at: str) -> Tx:
    """A transaction that appends no entries: for replaying journals into a catalog that no daemon runs on."""
    position = Position(site=site, epoch=0, incarnation="0" * 16, seq=0, hash=NO_HASH)
    return Tx(connection, _Group(position, change, at))


class Failed(msgspec.Struct, frozen=True):
    """How a unit of work ended when it raised."""

    error: LibrarianError


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
        group = _Group(self.position, self._change, self._clock.utc(), self.pressing)

        def work(connection: Connection) -> tuple[list[Any], Any, Position]:
            # The lock keeps a newcomer from beginning before this is committed.
            mine = connection.scalar(_LOCKED_META, {"wanted": "incarnation"})
            if mine != group.position.incarnation:
                raise AlreadyRunning(f"another daemon (incarnation {mine}) has taken over this catalog")
            if len(units) == 1:
                outcomes = [_run_alone(connection, group, units[0].work)]
            else:
                outcomes = [_run_unit(connection, group, unit.work) for unit in units]
            plan: Any = None
            if self._planning is not None and group.pressing and not group.beside:
                plan = _run_unit(connection, group, self._planning.plan)
            return outcomes, plan, group.seal(connection, self._key)

        slow = asyncio.get_running_loop().call_later(SLOW_S, self._is_slow)
        try:
            outcomes, plan, position = await self._database.write(work)
        except AlreadyRunning:
            raise
        except _Refused as exc:
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
        left = plan is None or isinstance(plan, Failed) or self._planning is None or not self._planning.planned(plan)
        if changed and group.pressing:
            if left:
                self.changed.set()
        elif changed and self._landed is None:
            self._landed = asyncio.get_running_loop().call_later(LANDED_S, self._told_of_landed)
        if group.kinds:
            self.recorded.set()
        for kinds, signal in self._watched:
            if kinds & group.kinds:
                signal.set()

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


class _Refused(Exception):
    """A unit that was alone raised: nothing is committed."""

    def __init__(self, error: LibrarianError) -> None:
        self.error = error


def _run_alone(connection: Connection, group: _Group, work: Callable[[Tx], Any]) -> Any:
    """Run the only unit of a group, which needs no savepoint."""
    try:
        return work(Tx(connection, group))
    except LibrarianError as exc:
        raise _Refused(exc) from exc


def _run_unit(connection: Connection, group: _Group, work: Callable[[Tx], Any]) -> Any:
    """Run one unit under a savepoint. A refusal by our own rules concerns only this unit; an error of the database,
    all.
    """
    entries, change = len(group.entries), group.change
    savepoint = connection.begin_nested() if connection.dialect.name != "sqlite" else None
    if savepoint is None:
        connection.exec_driver_sql("SAVEPOINT unit")
    try:
        outcome = work(Tx(connection, group))
    except LibrarianError as exc:
        if savepoint is None:
            connection.exec_driver_sql("ROLLBACK TO unit")
            connection.exec_driver_sql("RELEASE unit")
        else:
            savepoint.rollback()
        del group.entries[entries:]
        group.change = change
        return Failed(exc)
    if savepoint is None:
        connection.exec_driver_sql("RELEASE unit")
    else:
        savepoint.commit()
    return outcome


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


def compress(payload: bytes) -> bytes:
    """A segment's bytes as they stand in the catalog."""
    return zstandard.ZstdCompressor(level=_LEVEL).compress(payload)


def decompress(stored: bytes) -> bytes:
    """A segment's bytes as they were received.

    Raises:
        CatalogFault: the stored bytes are damaged.
    """
    try:
        # A damaged header may claim any size, and would get the memory for it.
        if zstandard.frame_content_size(stored) > MAX_SEGMENT_BYTES:
            raise zstandard.ZstdError("it claims to be larger than a segment can be")
        return zstandard.ZstdDecompressor().decompress(stored, max_output_size=MAX_SEGMENT_BYTES)
    except zstandard.ZstdError as exc:
        raise CatalogFault(f"a stored segment is damaged: {exc}", hint="restore the catalog, or rebuild it") from exc


#: Made once: it is the statement that is executed most often.
_META = select(schema.meta.c.value).where(schema.meta.c.key == bindparam("wanted"))
_LOCKED_META = _META.with_for_update(read=True)


def get_meta(connection: Connection, key: str) -> str | None:
    """A local fact by its key."""
    return connection.scalar(_META, {"wanted": key})


_PUT_META = replacing(schema.meta, "key")


def put_meta(connection: Connection, key: str, value: str) -> None:
    """Write a local fact. Idempotent."""
    connection.execute(_PUT_META(connection), {"key": key, "value": value})
