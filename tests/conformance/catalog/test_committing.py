"""The committer: many units of work in one transaction, and journal, tables and outbox never apart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Concatenate, ParamSpec, TypeVar

import pytest
from sqlalchemy import Connection
from tests.conformance.catalog.peers import Peer, admission, ingested, key_of, store_declared, store_of
from tests.conformance.catalog.running import SITE, begun, count, receive, rows, running, say

from librarian_daemon.catalog import committer, schema
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.database import Database, open_database
from librarian_daemon.catalog.journal import record, segments
from librarian_daemon.catalog.meta import get_meta, put_meta
from librarian_daemon.catalog.payloads import decompress
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.incidents.recorder import CatalogIncidents
from librarian_daemon.journal.incarnation import Incarnations
from librarian_daemon.journal.verify import verify_journal
from librarian_daemon.runtime.clock import SystemClock, SystemRng
from librarian_daemon.runtime.signals import Signal
from librarian_protocol.entries import Entry, FileIngested, SiteAdmitted, SiteAnnounced
from librarian_protocol.errors import AlreadyRunning, CatalogFault, InputError, SegmentInvalid
from librarian_protocol.keys import Purpose, verify
from librarian_protocol.segments import MAX_ENTRIES, MAX_SEGMENT_BYTES, NO_HASH, decode, entries_of

P = ParamSpec("P")
T = TypeVar("T")
STORE = store_of(SITE)


class _Counting:
    """A database that counts its writes, and whose next commits fail when asked: before the commit, or after it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.writes = 0
        self.fail_before = 0
        self.fail_after = 0

    async def write(self, work: Callable[[Connection], T]) -> T:
        self.writes += 1
        if self.fail_before:
            self.fail_before -= 1

            def failing(connection: Connection) -> T:
                work(connection)
                raise CatalogFault("the disk is full")

            return await self._database.write(failing)
        done = await self._database.write(work)
        if self.fail_after:
            self.fail_after -= 1
            raise CatalogFault("the reply was lost")
        return done

    async def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._database.read(work, *args, **kwargs)

    async def close(self) -> None:
        await self._database.close()


async def _together(catalog: Catalog, *works: Callable[[Tx], object]) -> list[object]:
    """Hand in all units before the committer runs: they are one group."""
    waiting = [asyncio.create_task(catalog.write(work)) for work in works]
    await asyncio.sleep(0)  # each hands its unit in
    async with running(catalog):
        return await asyncio.gather(*waiting, return_exceptions=True)


def _saying(*entries: Entry) -> Callable[[Tx], None]:
    def work(tx: Tx) -> None:
        for entry in entries:
            tx.append(entry)

    return work


async def test_segments_of_others_come_few_at_a_time_and_behind_what_is_waited_for(database: Database) -> None:
    counting = _Counting(database)
    catalog = await begun(counting, SITE)
    done: list[str] = []

    def noting(name: str) -> Callable[[Tx], None]:
        return lambda tx: done.append(f"{name} in {counting.writes - before}")

    segments_ = [asyncio.create_task(catalog.write_behind(noting(f"segment {n}"))) for n in range(committer.SEGMENTS)]
    more = asyncio.create_task(catalog.write_behind(noting("last")))
    await asyncio.sleep(0)  # each hands its unit in
    units = [asyncio.create_task(catalog.write(noting(f"unit {n}"))) for n in range(2)]
    await asyncio.sleep(0)
    before = counting.writes
    async with running(catalog):
        await asyncio.gather(*segments_, more, *units)
    first = ["unit 0", "unit 1", *(f"segment {n}" for n in range(committer.SEGMENTS))]
    assert done == [*(f"{name} in 1" for name in first), "last in 2"]


async def test_many_units_are_few_transactions(database: Database) -> None:
    """Durability costs one fsync a group, not one a file."""
    counting = _Counting(database)
    catalog = await begun(counting, SITE)
    counting.writes = 0
    outcomes = await _together(catalog, *(_saying(ingested(STORE, f"raw/{n}")) for n in range(200)))
    assert outcomes == [None] * 200
    assert counting.writes <= 8
    assert catalog.position.seq == 200
    assert await database.read(count, schema.file) == 200


async def test_the_entries_of_a_group_are_numbered_without_gaps_and_chained(database: Database) -> None:
    """Segments continue one another, in the order in which their units were handed in."""
    catalog = await begun(database, SITE)
    await _together(catalog, *(_saying(ingested(STORE, f"raw/{n}"), store_declared(STORE)) for n in range(5)))
    held = await database.read(record.chain, SITE, (0, 0))
    assert [row.first_seq for row in held] == list(range(1, 11))
    assert held[0].prev == NO_HASH
    assert all(after.prev == before.hash for before, after in pairwise(held))
    assert (held[-1].last_seq, held[-1].hash) == (catalog.position.seq, catalog.position.hash)
    for row in held:
        verify(key_of(SITE).public, Purpose.SEGMENT, decompress(row.payload), row.signature)
    assert [entry.name for row in held for entry in _files(decompress(row.payload))] == [f"raw/{n}" for n in range(5)]
    assert (await verify_journal(catalog, SITE, key_of(SITE).public)).problems == []


def _files(payload: bytes) -> list[FileIngested]:
    found = entries_of(decode(payload)) or []
    return [entry for entry in found if isinstance(entry, FileIngested)]


async def test_a_segment_holds_one_kind_and_no_more_than_its_limits(database: Database) -> None:
    """Entries of one kind share a segment up to 512 of them, or up to its size."""
    catalog = await begun(database, SITE)
    await _together(catalog, lambda tx: tx.append(*(ingested(STORE, f"raw/{n}") for n in range(MAX_ENTRIES + 1))))
    held = await database.read(record.chain, SITE, (0, 0))
    assert [row.last_seq - row.first_seq + 1 for row in held] == [MAX_ENTRIES, 1]
    long = "/".join(["x" * 250] * 4)
    await _together(catalog, lambda tx: tx.append(*(ingested(STORE, f"{n:03}/{long}") for n in range(400))))
    held = await database.read(record.chain, SITE, (held[-1].first_seq, held[-1].position))
    assert len(held) > 1
    assert all(len(decompress(row.payload)) <= MAX_SEGMENT_BYTES for row in held)
    assert (await verify_journal(catalog, SITE, key_of(SITE).public)).problems == []


async def test_the_outbox_has_exactly_our_own_segments(catalog: Catalog) -> None:
    """What came from others is theirs to publish."""
    peer = Peer("summit")
    await say(catalog, admission("summit"), ingested(STORE))
    await receive(catalog, *peer.say(ingested(peer.store, "raw/theirs")))
    waiting = await catalog.read(segments.outgoing, 100)
    held = await catalog.read(rows, schema.journal)
    assert [segment.hash for segment in waiting] == [row.hash for row in held if row.site == SITE]
    assert len(held) == 3


async def test_acknowledged_segments_leave_the_outbox_and_a_forgetful_bus_gets_all_again(catalog: Catalog) -> None:
    await say(catalog, admission("summit"), ingested(STORE), store_declared(STORE))
    first, second, third = await catalog.read(segments.outgoing, 100)
    assert [segment.position for segment in await catalog.read(segments.outgoing, 1)] == [first.position]
    for _ in range(2):
        await catalog.write(segments.acknowledged, [first.position, second.position])
        assert await catalog.read(segments.outgoing, 100) == [third]
    for _ in range(2):
        await catalog.write(segments.requeue_all, SITE)
        assert await catalog.read(segments.outgoing, 100) == [first, second, third]


async def test_a_unit_that_is_refused_is_rolled_back_alone(database: Database) -> None:
    """Its rows, its entries and its change numbers go; those before and behind it in the group commit."""
    catalog = await begun(database, SITE)
    changes: list[int] = []

    def refused(tx: Tx) -> None:
        put_meta(tx.connection, "half", "done")
        tx.append(ingested(STORE, "raw/refused"))
        tx.next_change()
        raise InputError("not this one")

    def good(name: str) -> Callable[[Tx], str]:
        def work(tx: Tx) -> str:
            tx.append(ingested(STORE, name))
            changes.append(tx.next_change())
            return name

        return work

    outcomes = await _together(catalog, good("raw/1"), refused, good("raw/2"), refused)
    assert outcomes[::2] == ["raw/1", "raw/2"]
    assert all(isinstance(outcome, InputError) for outcome in outcomes[1::2])
    assert await database.read(get_meta, "half") is None
    files = await database.read(rows, schema.file)
    assert [(row.name, row.origin_seq) for row in files] == [("raw/1", 1), ("raw/2", 2)]
    assert changes == [2, 4]
    assert catalog.position.seq == 2
    assert len(await database.read(rows, schema.journal)) == 1
    assert (await verify_journal(catalog, SITE, key_of(SITE).public)).problems == []


async def test_an_entry_that_nobody_would_accept_fails_only_the_unit_that_said_it(database: Database) -> None:
    """It is found out when the group's segments are sealed; the other units are committed all the same."""
    catalog = await begun(database, SITE)
    unreadable = SiteAnnounced(software="x" * 2000, adapters=[])
    outcomes = await _together(
        catalog, _saying(ingested(STORE, "raw/1")), _saying(unreadable), _saying(ingested(STORE, "raw/2"))
    )
    assert [outcomes[0], outcomes[2]] == [None, None]
    assert isinstance(outcomes[1], SegmentInvalid)
    assert [row.name for row in await database.read(rows, schema.file)] == ["raw/1", "raw/2"]
    assert await database.read(count, schema.announcement) == 0
    assert (catalog.position.seq, await database.read(count, schema.outbox)) == (2, 2)


async def test_a_commit_that_fails_fails_all_its_units_and_the_catalog_goes_on(database: Database) -> None:
    """Nothing of them stands anywhere, and no number is used up."""
    counting = _Counting(database)
    catalog = await begun(counting, SITE)
    counting.fail_before = 1
    outcomes = await _together(catalog, *(_saying(ingested(STORE, f"raw/{n}")) for n in range(3)))
    assert all(isinstance(outcome, CatalogFault) for outcome in outcomes)
    assert await database.read(count, schema.file) == 0
    assert catalog.position.seq == 0
    await _together(catalog, _saying(ingested(STORE, "raw/after")))
    assert [(row.name, row.origin_seq) for row in await database.read(rows, schema.file)] == [("raw/after", 1)]


async def test_a_catalog_that_cannot_be_written_says_so_at_once_and_until_it_can(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a commit hangs, and after it failed: not only when somebody's patience is over."""
    monkeypatch.setattr(committer, "SLOW_S", 0.05)
    held = _Held(database)
    catalog = await begun(held, SITE)
    incidents = CatalogIncidents(catalog)
    async with running(catalog):
        await say(catalog, ingested(STORE, "raw/1"))
        assert incidents.not_kept() == []
        held.free.clear()
        waiting = asyncio.create_task(say(catalog, ingested(STORE, "raw/2")))
        while not incidents.not_kept():
            await asyncio.sleep(0.01)
        assert [(incident.code, incident.severity) for incident in incidents.not_kept()] == [
            ("catalog-fault", "critical")
        ]
        held.fails = True
        held.free.set()
        with pytest.raises(CatalogFault):
            await waiting
        assert catalog.trouble == "the disk is full"
        held.fails = False
        await say(catalog, ingested(STORE, "raw/3"))
        assert catalog.trouble == ""
        assert incidents.not_kept() == []


class _Held:
    """A database of which somebody else holds the lock."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.free = asyncio.Event()
        self.free.set()
        self.fails = False

    async def write(self, work: Callable[[Connection], Any]) -> Any:
        await self.free.wait()
        if self.fails:
            raise CatalogFault("the disk is full")
        return await self._database.write(work)

    async def read(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await self._database.read(work, *args, **kwargs)

    async def close(self) -> None:
        await self._database.close()


async def test_after_a_lost_reply_the_journal_goes_on_where_it_really_ends(database: Database) -> None:
    """The commit happened though it seemed to fail: neither its numbers nor its change numbers are used again."""
    counting = _Counting(database)
    catalog = await begun(counting, SITE)
    counting.fail_after = 1
    async with running(catalog):
        with pytest.raises(CatalogFault):
            await catalog.write(_saying(ingested(STORE, "raw/1"), ingested(STORE, "raw/2")))
        await say(catalog, ingested(STORE, "raw/3"))
    files = await database.read(rows, schema.file)
    assert [(row.name, row.origin_seq) for row in files] == [("raw/1", 1), ("raw/2", 2), ("raw/3", 3)]
    assert files[2].change > max(row.change for row in files[:2])
    assert (await verify_journal(catalog, SITE, key_of(SITE).public)).problems == []


async def test_a_second_incarnation_ends_the_first(database: Database, url: str) -> None:
    """Two daemons on one catalog: the later one goes on, the earlier one commits nothing more and ends."""
    first = await begun(database, SITE, incarnation="a0" * 8)
    await _together(first, _saying(ingested(STORE, "raw/1")))
    elsewhere = open_database(url)
    second = await begun(elsewhere, SITE, incarnation="b0" * 8)
    waiting = asyncio.create_task(first.write(Tx.append, ingested(STORE, "raw/lost")))
    with pytest.raises(AlreadyRunning, match="b0b0"):
        await first.run()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await _together(second, _saying(ingested(STORE, "raw/2")))
    files = await database.read(rows, schema.file)
    assert [(row.name, row.origin_epoch, row.origin_seq) for row in files] == [("raw/1", 1, 1), ("raw/2", 2, 2)]
    await elsewhere.close()


async def test_every_start_begins_an_incarnation_of_its_own(catalog: Catalog) -> None:
    """Numbers are counted within one: a catalog that was restored never uses an (incarnation, number) again."""
    starts = Incarnations(catalog, [], SystemRng(), SystemClock(), SITE)
    first, second = await starts.renew(), await starts.renew()
    third = await starts.renew(witnessed=second.epoch + 5)
    assert len({first.incarnation, second.incarnation, third.incarnation}) == 3
    assert first.epoch < second.epoch
    assert third.epoch == second.epoch + 6


async def test_an_incarnation_begins_where_the_journal_ends_then(database: Database) -> None:
    """What an earlier daemon committed between the newcomer's look and its beginning is continued, not forked."""
    first = await begun(database, SITE)
    stale = await database.read(segments.next_position, SITE, 2, "b0" * 8)
    await _together(first, _saying(ingested(STORE, "raw/1")))
    second = Catalog(database, SystemClock(), key_of(SITE))
    await second.begin(stale)
    await _together(second, _saying(ingested(STORE, "raw/2")))
    assert (await verify_journal(second, SITE, key_of(SITE).public)).problems == []
    assert [row.origin_seq for row in await database.read(rows, schema.file)] == [1, 2]


async def test_a_caller_that_gives_up_waiting_does_no_harm(database: Database) -> None:
    """Its unit is committed or not as if it had waited; the others get their answers."""
    catalog = await begun(database, SITE)
    waiting = [asyncio.create_task(catalog.write(Tx.append, ingested(STORE, f"raw/{n}"))) for n in range(4)]
    await asyncio.sleep(0)  # each hands its unit in
    waiting[1].cancel()
    async with running(catalog):
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [outcomes[0], outcomes[2], outcomes[3]] == [None] * 3
    assert isinstance(outcomes[1], asyncio.CancelledError)
    assert catalog.position.seq == await database.read(count, schema.file) == 4
    assert (await verify_journal(catalog, SITE, key_of(SITE).public)).problems == []


async def test_signals_tell_of_what_was_committed(database: Database) -> None:
    """The publisher, the planner and whoever watches a kind are woken; by other kinds they are not."""
    catalog = await begun(database, SITE)
    admitted, announced = Signal(), Signal()
    catalog.watch(admitted, SiteAdmitted)
    catalog.watch(announced, SiteAnnounced)
    await _together(catalog, _saying(admission("summit")))
    woken = [await signal.wait(0.01) for signal in (catalog.journaled, catalog.changed, admitted, announced)]
    assert woken == [True, True, True, False]
    await _together(catalog, lambda tx: put_meta(tx.connection, "a", "1"))
    woken = [await signal.wait(0.01) for signal in (catalog.journaled, catalog.changed, admitted, announced)]
    assert woken == [False] * 4
