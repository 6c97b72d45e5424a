"""Passes over a store in the catalog: what they read, in which order, and what freezes a store."""

from __future__ import annotations

from functools import partial

from sqlalchemy import Connection
from tests.conformance.catalog.peers import ingested, store_of
from tests.conformance.catalog.running import SITE, begun, count, running, say

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.database import Database
from librarian_daemon.catalog.integrity import instances, scrubbing
from librarian_daemon.catalog.integrity.instances import Holding
from librarian_daemon.catalog.landings import note_verified
from librarian_daemon.catalog.transaction import Tx
from librarian_protocol.names import Name
from librarian_protocol.scrub import Budget

STORE = store_of(SITE)
BUDGET = Budget(every_s=86400, rate=1, freeze_at=3)


def holding_of(name: str, connection: Connection) -> Holding:
    (found,) = instances.of_name(connection, SITE, Name.parse(name))
    return found


def verified(names: list[str], tx: Tx) -> None:
    note_verified(tx, STORE, [(Name.parse(name), holding_of(name, tx.connection).digest) for name in names])


async def gathered(catalog: Catalog) -> None:
    after = 0
    while after := await catalog.write(scrubbing.gather, SITE, STORE, after):
        pass


async def due(catalog: Catalog, number: int, limit: int = 10) -> list[str]:
    page = await catalog.read(scrubbing.due, SITE, STORE, number, limit)
    return [str(holding.name) for holding in page.holdings]


async def read(catalog: Catalog, number: int, *names: str, now: int = 0) -> list[Holding]:
    holdings = [await catalog.read(partial(holding_of, name)) for name in names]
    return await catalog.write(scrubbing.read, STORE, number, holdings, now)


async def test_a_pass_reads_each_instance_once_the_least_recently_verified_first(database: Database) -> None:
    catalog = await begun(database, SITE)
    async with running(catalog):
        await say(catalog, *(ingested(STORE, name) for name in ("a", "b", "c", "never")))
        for name in ("c", "a", "b"):
            await catalog.write(partial(verified, [name]))
        assert (await catalog.write(scrubbing.begin, STORE, 100)).number == 1
        await gathered(catalog)
        last = await catalog.read(scrubbing.last_pass, STORE)
        assert last is not None
        assert last.gathered
        assert await due(catalog, 1) == ["never", "c", "a", "b"]
        assert await due(catalog, 1, limit=2) == ["never", "c"]
        await read(catalog, 1, "never", "c")
        assert await due(catalog, 1) == ["a", "b"]
        # What lands meanwhile was read then: the next pass has it.
        await say(catalog, ingested(STORE, "new"))
        await catalog.write(partial(verified, ["new"]))
        assert await due(catalog, 1) == ["a", "b"]
        await read(catalog, 1, "a", "b")
        assert (await catalog.read(scrubbing.due, SITE, STORE, 1, 10)).empty
        await catalog.write(scrubbing.end, STORE, 200)
        ended = await catalog.read(scrubbing.last_pass, STORE)
        assert ended is not None
        assert (ended.files, ended.ended, ended.number) == (4, 200, 1)
        assert (await catalog.write(scrubbing.begin, STORE, 300)).number == 2
        assert set(await due(catalog, 2)) == {"a", "b", "c", "never", "new"}


async def test_a_pass_goes_on_where_it_was_and_asking_begins_no_second_one(database: Database) -> None:
    catalog = await begun(database, SITE)
    async with running(catalog):
        begun_pass = await catalog.write(scrubbing.begin, STORE, 100)
        asked = await catalog.write(partial(scrubbing.begin, store=STORE, now=200, asked=True))
        assert (asked.number, asked.began, asked.asked) == (begun_pass.number, 100, True)
        assert await catalog.read(scrubbing.last_pass, STORE) == asked


async def test_what_is_suspected_is_passed_by_and_what_is_gone_is_forgotten(database: Database) -> None:
    catalog = await begun(database, SITE)
    async with running(catalog):
        await say(catalog, *(ingested(STORE, name) for name in ("a", "bad")))
        await catalog.write(partial(verified, ["a", "bad"]))
        bad = await catalog.read(partial(holding_of, "bad"))
        await say(catalog, bad.suspected("it differs"))
        await catalog.write(scrubbing.begin, STORE, 100)
        page = await catalog.read(scrubbing.due, SITE, STORE, 1, 10)
        assert [str(holding.name) for holding in page.holdings] == ["a"]
        assert (list(page.gone), list(page.passed)) == ([], [bad.file_id])
        await catalog.write(scrubbing.passed_by, STORE, 1, page)
        await read(catalog, 1, "a")
        assert (await catalog.read(scrubbing.due, SITE, STORE, 1, 10)).empty


async def test_others_are_told_once_a_day_and_at_the_end(database: Database) -> None:
    catalog = await begun(database, SITE)
    day_s = 86400

    def told(connection: Connection) -> int:
        return count(connection, schema.journal, schema.journal.c.kind == "store.scrubbed")

    async with running(catalog):
        await say(catalog, *(ingested(STORE, name) for name in ("a", "b", "c")))
        await catalog.write(partial(verified, ["a", "b", "c"]))
        await catalog.write(scrubbing.begin, STORE, 0)
        await read(catalog, 1, "a", now=day_s - 1)
        assert await catalog.read(told) == 0
        await read(catalog, 1, "b", now=day_s)
        assert await catalog.read(told) == 1
        await read(catalog, 1, "c", now=day_s + 1)
        assert await catalog.read(told) == 1
        for _ in range(2):
            await catalog.write(scrubbing.end, STORE, day_s + 2)
        assert await catalog.read(told) == 2


async def test_more_bad_instances_than_configured_freeze_the_store_until_it_is_thawed(database: Database) -> None:
    catalog = await begun(database, SITE)
    async with running(catalog):
        await catalog.write(scrubbing.begin, STORE, 0)
        froze = [await catalog.write(scrubbing.note_bad, STORE, BUDGET) for _ in range(5)]
        assert froze == [False, False, False, True, False]
        assert await catalog.read(scrubbing.is_frozen, STORE)
        assert not await catalog.read(scrubbing.is_frozen, "another")
        (frozen,) = (await catalog.read(scrubbing.frozen)).values()
        assert "4 bad instances" in frozen.reason
        assert await catalog.write(scrubbing.thaw, STORE)
        assert not await catalog.write(scrubbing.thaw, STORE)
        last = await catalog.read(scrubbing.last_pass, STORE)
        assert last is not None
        assert last.bad == 0
        assert not await catalog.write(scrubbing.note_bad, STORE, BUDGET)
