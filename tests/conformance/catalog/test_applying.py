"""What entries make of the shared tables: registers by version, and what is computed from several of them."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection
from tests.conformance.catalog.peers import (
    NAME,
    Peer,
    Sealed,
    doubted,
    facts,
    healed,
    ingested,
    registered,
    removed,
    store_declared,
    suspected,
    withdrawn,
)
from tests.conformance.catalog.running import SITE, admit, receive, rows, say

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.integrity import instances
from librarian_daemon.catalog.status import totals
from librarian_protocol.digests import Digest
from librarian_protocol.entries import (
    DigestAdded,
    InstanceDoubted,
    StoreRetired,
    SubscriptionDeclared,
    SubscriptionWithdrawn,
    TransferParked,
    TransferResumed,
    Unit,
)
from librarian_protocol.names import Name

SUBSCRIPTION = "0123456789abcdef"


@pytest.fixture
async def summit(catalog: Catalog) -> Peer:
    """A peer that may do everything."""
    peer = Peer("summit")
    await admit(catalog, peer, may_admit=True)
    return peer


@pytest.fixture
async def campus(catalog: Catalog) -> Peer:
    """Another."""
    peer = Peer("campus")
    await admit(catalog, peer)
    return peer


async def _instances(catalog: Catalog) -> list[tuple[str, str]]:
    return [(row.site, row.state) for row in await catalog.read(rows, schema.instance)]


async def _conflicts(catalog: Catalog) -> list[str]:
    return [row.name for row in await catalog.read(rows, schema.conflict)]


async def _doubts(catalog: Catalog) -> int:
    return (await catalog.read(totals.count, SITE)).totals.doubted


# ---- files and origins -------------------------------------------------------------------------------------


async def test_an_instance_that_is_heard_of_before_its_ingest_makes_the_files_row(
    catalog: Catalog, summit: Peer, campus: Peer
) -> None:
    """Every entry stands alone; who ingested the file is filled in when that comes."""
    await receive(catalog, *campus.say(registered(campus.store, size_bytes=7, unit=Unit.BOOK)))
    before = (await catalog.read(rows, schema.file))[0]
    assert (before.name, before.size_bytes, before.unit, before.origin_site) == (NAME, 7, "book", None)
    await receive(catalog, *summit.say(ingested(summit.store, size_bytes=7, unit=Unit.BOOK)))
    after = (await catalog.read(rows, schema.file))[0]
    assert (after.id, after.origin_site, after.origin_seq) == (before.id, "summit", 1)
    assert after.change > before.change
    assert await _instances(catalog) == [("campus", "available"), ("summit", "available")]


@pytest.mark.parametrize("order", [("summit", "campus"), ("campus", "summit")])
async def test_of_two_ingests_of_one_file_the_least_is_its_origin(
    catalog: Catalog, summit: Peer, campus: Peer, order: tuple[str, str]
) -> None:
    """For display only, and the same everywhere."""
    peers = {"summit": summit, "campus": campus}
    for site in order:
        await receive(catalog, *peers[site].say(ingested(peers[site].store)))
    assert [row.origin_site for row in await catalog.read(rows, schema.file)] == ["campus"]
    assert await _conflicts(catalog) == []


@pytest.mark.parametrize("sizes", [(7, 9), (9, 7)])
async def test_sizes_that_contradict_become_the_same_one_everywhere(
    catalog: Catalog, summit: Peer, campus: Peer, sizes: tuple[int, int]
) -> None:
    """One digest has one size: somebody lies, and all sites keep the smaller."""
    for peer, size_bytes in zip((summit, campus), sizes, strict=True):
        await receive(catalog, *peer.say(ingested(peer.store, size_bytes=size_bytes)))
    assert [row.size_bytes for row in await catalog.read(rows, schema.file)] == [7]


async def test_other_digests_of_the_same_bytes_are_added_and_make_no_conflict(catalog: Catalog, summit: Peer) -> None:
    md5 = Digest.parse("md5:" + "1" * 32)
    await receive(catalog, *summit.say(DigestAdded(**facts(), other=md5)), *summit.say(ingested(summit.store)))
    await receive(catalog, *summit.say(DigestAdded(**facts(), other=md5)))
    assert [(row.site, row.other) for row in await catalog.read(rows, schema.digest)] == [("summit", md5)]
    assert await _conflicts(catalog) == []


async def test_news_of_a_transfer_make_the_file_known_but_no_instance(catalog: Catalog, campus: Peer) -> None:
    parked = TransferParked(**facts(), store=campus.store, source_site=None, reason="timeout", message="")
    await receive(catalog, *campus.say(parked), *campus.say(TransferResumed(**facts(), store=campus.store)))
    assert len(await catalog.read(rows, schema.file)) == 1
    assert await _instances(catalog) == []


# ---- instances ---------------------------------------------------------------------------------------------


async def test_the_latest_word_of_the_owner_is_the_instances_state(catalog: Catalog, summit: Peer) -> None:
    store, states = summit.store, list[str]()
    for entry in (ingested(store), suspected(store), healed(store), removed(store), registered(store)):
        await receive(catalog, *summit.say(entry))
        states += [state for _, state in await _instances(catalog)]
    assert states == ["available", "suspected", "available", "removed", "available"]


async def test_a_removed_instance_is_not_brought_back_by_an_older_word(catalog: Catalog, summit: Peer) -> None:
    """A branch of the journal of an older incarnation that arrives late changes nothing."""
    old = Peer("summit")
    late = old.say(registered(old.store))
    new = Peer("summit", epoch=5)
    await receive(catalog, *new.say(removed(new.store)), *late)
    assert await _instances(catalog) == [("summit", "removed")]


async def test_a_site_speaks_of_its_own_instances_only(catalog: Catalog, summit: Peer, campus: Peer) -> None:
    """Whatever store it names, what it says stands under its own name."""
    await receive(catalog, *summit.say(ingested(summit.store)), *campus.say(removed(summit.store)))
    assert await _instances(catalog) == [("campus", "removed"), ("summit", "available")]


# ---- conflicts ---------------------------------------------------------------------------------------------


async def test_two_digests_under_one_name_are_a_conflict_until_one_is_withdrawn(
    catalog: Catalog, summit: Peer, campus: Peer
) -> None:
    """Computed, not decided; every change of it wakes the planner for all files of the name."""
    await receive(catalog, *summit.say(ingested(summit.store, content="one")))
    assert await _conflicts(catalog) == []
    for peer, entry, conflicts in (
        (campus, registered(campus.store, content="two"), [NAME]),
        (campus, registered(campus.store, content="three"), [NAME]),
        (summit, withdrawn(content="one"), [NAME]),
        (summit, withdrawn(content="two"), []),
        (campus, registered(campus.store, content="four"), [NAME]),
    ):
        before = {row.id: row.change for row in await catalog.read(rows, schema.file)}
        was = await _conflicts(catalog)
        await receive(catalog, *peer.say(entry))
        assert await _conflicts(catalog) == conflicts
        after = {row.id: row.change for row in await catalog.read(rows, schema.file)}
        if was != conflicts:
            assert all(after[name] > before.get(name, 0) for name in after)


async def test_a_withdrawal_that_comes_before_its_file_holds(catalog: Catalog, summit: Peer, campus: Peer) -> None:
    """Withdrawn is a kept value: nothing that comes later undoes it."""
    await receive(catalog, *summit.say(withdrawn(content="one")), *campus.say(ingested(campus.store, content="two")))
    assert await _conflicts(catalog) == []
    await receive(catalog, *campus.say(ingested(campus.store, content="one")))
    assert [row.withdrawn for row in await catalog.read(rows, schema.file)] == [True, False]
    assert await _conflicts(catalog) == []


async def test_case_twins_are_two_files_and_no_conflict(catalog: Catalog, summit: Peer) -> None:
    await receive(catalog, *summit.say(ingested(summit.store, "raw/A"), ingested(summit.store, "raw/a")))
    files = await catalog.read(rows, schema.file)
    assert [row.folded for row in files] == ["raw/a", "raw/a"]
    assert await _conflicts(catalog) == []


async def test_one_group_of_entries_can_make_a_conflict_by_itself(catalog: Catalog, summit: Peer) -> None:
    pages = [ingested(summit.store, f"raw/{n % 600}", content=str(n)) for n in range(1200)]
    await receive(catalog, *summit.say(*pages))
    assert len(await _conflicts(catalog)) == 600


# ---- doubts ------------------------------------------------------------------------------------------------


async def test_a_doubt_stands_until_the_owner_says_something_later(
    catalog: Catalog, summit: Peer, campus: Peer
) -> None:
    await receive(catalog, *summit.say(ingested(summit.store)), *campus.say(doubted(summit, 1)))
    assert await _doubts(catalog) == 1
    await receive(catalog, *summit.say(healed(summit.store)))
    assert await _doubts(catalog) == 0
    await receive(catalog, *campus.say(doubted(summit, 2)))
    assert await _doubts(catalog) == 1
    summit.restart()
    await receive(catalog, *summit.say(suspected(summit.store)))
    assert await _doubts(catalog) == 0
    assert await _instances(catalog) == [("summit", "suspected")]


async def test_a_doubt_that_comes_after_its_answer_changes_nothing(
    catalog: Catalog, summit: Peer, campus: Peer
) -> None:
    """It names the state that it doubts."""
    await receive(catalog, *summit.each(ingested(summit.store), healed(summit.store)), *campus.say(doubted(summit, 1)))
    assert await _doubts(catalog) == 0


async def test_a_doubt_that_comes_before_what_it_doubts_holds(catalog: Catalog, summit: Peer, campus: Peer) -> None:
    await receive(catalog, *campus.say(doubted(summit, 1)))
    assert await _doubts(catalog) == 0
    await receive(catalog, *summit.say(ingested(summit.store)))
    assert await _doubts(catalog) == 1


async def test_an_instance_that_two_sites_doubt_is_one_doubted_instance(
    catalog: Catalog, summit: Peer, campus: Peer
) -> None:
    third = Peer("valley")
    await admit(catalog, third)
    await receive(catalog, *summit.say(ingested(summit.store)))
    await receive(catalog, *campus.say(doubted(summit, 1)), *third.say(doubted(summit, 1)))
    assert await _doubts(catalog) == 1


async def test_our_own_doubted_instances_are_found_until_they_were_read_again(catalog: Catalog, campus: Peer) -> None:
    """The custodian's list; meanwhile they are not given to anybody."""
    own = Peer(SITE)
    await say(catalog, ingested(own.store))
    (instance,) = await catalog.read(rows, schema.instance)
    doubt = InstanceDoubted(
        **facts(),
        store=own.store,
        owner=SITE,
        reason="checksum-mismatch",
        epoch=instance.epoch,
        incarnation=instance.incarnation,
        entry_seq=instance.seq,
    )
    digest = Digest.blake3(NAME.encode())
    found = await catalog.read(instances.find, SITE, [digest])
    assert not found[digest].doubted
    await receive(catalog, *campus.say(doubt))
    assert await catalog.read(instances.find, SITE, [digest]) == {}
    (listed,) = await catalog.read(instances.doubted_here, SITE, 10)
    assert (listed.name, listed.store, listed.doubted) == (NAME, own.store, True)
    await say(catalog, healed(own.store))
    assert await catalog.read(instances.doubted_here, SITE, 10) == []
    assert await catalog.read(instances.find, SITE, [digest]) == found
    assert [holding.store for holding in await catalog.read(instances.of_name, SITE, Name.parse(NAME))] == [own.store]


# ---- declarations ------------------------------------------------------------------------------------------


async def test_declarations_are_registers_too(catalog: Catalog) -> None:
    """What was withdrawn or retired in a later incarnation stays so when older words arrive."""
    old, new = Peer("summit"), Peer("summit", epoch=5)
    await admit(catalog, old)
    declared = SubscriptionDeclared(subscription=SUBSCRIPTION, from_site=None, match="**", into=[old.store])
    late: list[Sealed] = old.each(declared, store_declared(old.store))
    ended = new.each(SubscriptionWithdrawn(subscription=SUBSCRIPTION), StoreRetired(store=new.store))
    await receive(catalog, *ended, *late)

    def look(connection: Connection) -> tuple[list[bool], list[bool]]:
        return (
            [row.withdrawn for row in rows(connection, schema.subscription)],
            [row.retired for row in rows(connection, schema.store)],
        )

    assert await catalog.read(look) == ([True], [True])
