"""Who is woken by a commit, and what goes with the commit of others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection
from tests.conformance.catalog.peers import Peer, admission, ingested, store_of
from tests.conformance.catalog.running import SITE, receive, say

from librarian_daemon.catalog.committer import FRESH, LANDED_S, LATER_S, Catalog
from librarian_daemon.catalog.database import Database
from librarian_daemon.catalog.journal.mail import send
from librarian_daemon.catalog.journal.outgoing import outgoing
from librarian_daemon.catalog.meta import get_meta, put_meta
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.runtime.signals import Signal
from librarian_protocol.entries import FileIngested, InstanceRegistered
from librarian_protocol.errors import CatalogFault
from librarian_protocol.names import SiteName

STORE = store_of(SITE)
SUMMIT = SiteName("summit")


async def test_the_planner_is_told_at_once_of_files_where_a_subscription_is_to(catalog: Catalog) -> None:
    peer = Peer("summit")
    await say(catalog, admission("summit"))
    for pressing in (None, {SUMMIT}):
        catalog.pressing = pressing
        await catalog.changed.wait(0.0)
        await receive(catalog, *peer.say(ingested(peer.store, f"of-{pressing}")))
        assert await catalog.changed.wait(0.0)


async def test_the_planner_is_told_a_moment_later_of_files_that_land_elsewhere(catalog: Catalog) -> None:
    await say(catalog, admission("summit"))
    catalog.pressing = {SUMMIT}
    await catalog.changed.wait(0.0)
    await say(catalog, ingested(STORE, "here"))
    assert not await catalog.changed.wait(0.0)
    assert await catalog.changed.wait(10 * LANDED_S)


async def test_the_planner_is_told_at_once_of_all_else(catalog: Catalog) -> None:
    catalog.pressing = frozenset()
    await catalog.changed.wait(0.0)

    def decide(tx: Tx) -> None:
        tx.recompute_conflicts(["here"])

    await catalog.write(decide)
    assert await catalog.changed.wait(0.0)


async def test_who_watches_no_more_is_not_woken(catalog: Catalog) -> None:
    watching, not_any_more, of_others = Signal(), Signal(), Signal()
    catalog.watch(watching, FileIngested)
    catalog.watch(not_any_more, FileIngested)
    catalog.watch(of_others, InstanceRegistered)
    catalog.watch_no_more(not_any_more)
    await say(catalog, ingested(STORE, "here"))
    woken = [await signal.wait(0.0) for signal in (watching, not_any_more, of_others)]
    assert woken == [True, False, False]


async def test_what_nobody_waits_for_goes_with_the_next_commit(catalog: Catalog) -> None:
    later = catalog.write_later(lambda tx: put_meta(tx.connection, "later", "done"))
    await asyncio.sleep(0)
    assert await catalog.read(get_meta, "later") is None
    await catalog.write(lambda tx: put_meta(tx.connection, "now", "done"))
    assert later.done()
    assert await catalog.read(get_meta, "later") == "done"


async def test_what_nobody_waits_for_is_committed_alone_if_nothing_else_is(catalog: Catalog) -> None:
    later = catalog.write_later(lambda tx: put_meta(tx.connection, "later", "done"))
    async with asyncio.timeout(100 * LATER_S):
        await later
    assert await catalog.read(get_meta, "later") == "done"


async def test_what_waits_for_the_bus_is_read_without_what_it_has(catalog: Catalog) -> None:
    await say(catalog, ingested(STORE, "first"), ingested(STORE, "second"), ingested(STORE, "third"))
    await catalog.write(send, "0" * 32, SUMMIT, "hello", b"{}")
    (first, second, third), letters = await catalog.read(outgoing, 10, [])
    assert [letter.recipient for letter in letters] == [SUMMIT]
    assert (await catalog.read(outgoing, 1, []))[0] == [first]
    assert (await catalog.read(outgoing, 1, [first.position]))[0] == [second]
    assert (await catalog.read(outgoing, 10, [first.position, second.position]))[0] == [third]


async def test_what_was_committed_since_the_last_look_is_known_without_a_read(catalog: Catalog) -> None:
    assert catalog.fresh() is None  # nobody has looked yet
    assert catalog.fresh() == []
    await say(catalog, ingested(STORE, "first"))
    await catalog.write(lambda tx: put_meta(tx.connection, "nothing", "said"))
    await say(catalog, ingested(STORE, "second"))
    assert catalog.fresh() == (await catalog.read(outgoing, 10, []))[0]
    assert catalog.fresh() == []


async def test_letters_and_many_segments_are_to_be_read(catalog: Catalog) -> None:
    catalog.fresh()
    await say(catalog, ingested(STORE, "file"))
    await catalog.write(send, "0" * 32, SUMMIT, "hello", b"{}")
    await say(catalog, ingested(STORE, "behind-the-letter"))
    assert catalog.fresh() is None
    await say(catalog, *(ingested(STORE, f"file-{number}") for number in range(FRESH)))
    assert len(catalog.fresh() or ()) == FRESH
    await say(catalog, *(ingested(STORE, f"more-{number}") for number in range(FRESH + 1)))
    assert catalog.fresh() is None


async def test_after_a_commit_of_which_nobody_knows_all_is_to_be_read(
    catalog: Catalog, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.fresh()
    write = database.write

    async def unanswered(work: Callable[[Connection], Any]) -> None:
        await write(work)
        raise CatalogFault("the reply was lost")

    with monkeypatch.context() as patched:
        patched.setattr(database, "write", unanswered)
        with pytest.raises(CatalogFault):
            await say(catalog, ingested(STORE, "file"))
    await say(catalog, ingested(STORE, "after"))
    assert catalog.fresh() is None
