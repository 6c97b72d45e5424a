"""What the control API shows: every file exactly once, whatever the page; a name with all of it; totals."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection
from tests.conformance.catalog.peers import (
    NAME,
    Peer,
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
from tests.conformance.catalog.running import SITE, admit, receive, rows, say, tried

from librarian_daemon.catalog import landings, schema
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.status import explanation, queries, totals
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.transfers import transfers
from librarian_daemon.catalog.transfers.transfers import NewTransfer
from librarian_protocol import api, globs
from librarian_protocol.entries import SiteRevoked, StoreRetired, SubscriptionDeclared
from librarian_protocol.names import Name, SiteName

OWN = Peer(SITE)


def _walk(connection: Connection, match: str, limit: int) -> list[api.FileSummary]:
    """All pages. Each but the last says where the next one begins, and that is further on."""
    found: list[api.FileSummary] = []
    after = ""
    while True:
        page = queries.files(connection, match=match, after=after, limit=limit)
        found += page.files
        if page.next is None:
            return found
        assert page.next > after
        after = page.next


# ---- pages of files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("match", "limit"), [("**", 500), ("**", 999), ("raw/*/7*", 10), ("none/**", 100)])
async def test_pages_of_thousands_of_files_hold_each_exactly_once(catalog: Catalog, match: str, limit: int) -> None:
    """In the order of their names; names in conflict, of which there are many, are not torn apart."""
    files = [ingested(OWN.store, f"raw/{n % 5}/{n}") for n in range(2600)]
    files += [ingested(OWN.store, f"raw/{n % 5}/{n}", content="other") for n in range(0, 2600, 3)]

    def work(tx: Tx) -> None:
        tx.append(*files)
        found = _walk(tx.connection, match, limit)
        expected = sorted((str(file.name), str(file.digest)) for file in files if globs.matches(match, file.name))
        assert sorted((file.name, file.digest) for file in found) == expected
        assert [file.name for file in found] == sorted(file.name for file in found)
        conflicts = {file.name for file in found if file.conflict}
        assert conflicts == {name for name, _ in expected if int(name.rpartition("/")[2]) % 3 == 0}

    await tried(catalog, work)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    digests=st.lists(st.integers(1, 4), min_size=1, max_size=12),
    limit=st.integers(1, 6),
)
async def test_pages_smaller_than_a_conflict_still_hold_every_file(
    catalog: Catalog, digests: list[int], limit: int
) -> None:
    """A page grows rather than to end inside a name."""

    def work(tx: Tx) -> None:
        files = [
            ingested(OWN.store, f"raw/{name:02}", content=str(number))
            for name, count in enumerate(digests)
            for number in range(count)
        ]
        tx.append(*files)
        found = [(file.name, file.digest) for file in _walk(tx.connection, "**", limit)]
        assert sorted(found) == sorted((str(file.name), str(file.digest)) for file in files)
        first = queries.files(tx.connection, match="**", after="", limit=limit)
        assert len(first.files) <= max(limit, *digests)

    await tried(catalog, work)


async def test_a_page_of_a_rare_glob_ends_early_and_goes_on(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """No call looks at the whole catalog; an empty page with a `next` is not the end."""
    monkeypatch.setattr(queries, "_LOOK_AT", 1000)

    def work(tx: Tx) -> None:
        tx.append(*(ingested(OWN.store, f"raw/{n:04}") for n in range(2500)))
        first = queries.files(tx.connection, match="raw/24*", after="", limit=50)
        assert first.files == []
        assert first.next is not None
        assert len(_walk(tx.connection, "raw/24*", 50)) == 100

    await tried(catalog, work)


async def test_a_page_tells_where_good_instances_are(catalog: Catalog) -> None:
    peer = Peer("summit")
    await admit(catalog, peer)
    await receive(catalog, *peer.say(ingested(peer.store, "raw/1"), ingested(peer.store, "raw/2")))
    await say(catalog, registered(OWN.store, "raw/1"), registered(OWN.store, "raw/2"), suspected(OWN.store, "raw/2"))
    page = await catalog.read(queries.files, match="**", after="", limit=10)
    assert [(file.name, file.origin, file.sites) for file in page.files] == [
        ("raw/1", "summit", [SITE, "summit"]),
        ("raw/2", "summit", ["summit"]),
    ]
    assert page.next is None


# ---- one name ----------------------------------------------------------------------------------------------


async def test_a_name_is_shown_with_all_that_is_known_of_it(catalog: Catalog) -> None:
    """Both files of a conflict; of each instance what its owner and its readers say; transfers."""
    summit, campus = Peer("summit"), Peer("campus")
    await admit(catalog, summit, campus, may_admit=True)
    await say(catalog, store_declared(OWN.store), registered(OWN.store))
    await receive(catalog, *summit.each(store_declared(summit.store), ingested(summit.store)))
    await receive(catalog, *campus.each(doubted(summit, 2), ingested(campus.store, content="other")))
    file = facts()
    await catalog.write(landings.note_verified, OWN.store, [(file["name"], file["digest"])])
    found = await catalog.read(queries.detail, NAME)
    assert found is not None
    assert found.conflict
    assert len(found.files) == 2
    ((shown, owed),) = [(detail, owed) for detail, owed in found.files if detail.digest == file["digest"]]
    assert (shown.origin, shown.withdrawn, owed) == ("summit", False, [])
    states = {held.site: (held.state, held.label, held.how) for held in shown.instances}
    assert states == {SITE: ("verified", "disk", "pulled"), "summit": ("doubted", "disk", "ingested")}
    details = {held.site: held.detail for held in shown.instances}
    assert details == {SITE: "", "summit": "checksum-mismatch (said by campus)"}
    (instance,) = [held for held in shown.instances if held.site == SITE]
    assert instance.verified_at is not None
    assert instance.verified_at > instance.at
    await catalog.write(
        transfers.create,
        [NewTransfer(file_id=(await catalog.read(rows, schema.file))[0].id, store="f" * 32, subscription="s")],
    )
    await receive(catalog, *summit.say(removed(summit.store)), *summit.say(withdrawn(content="other")))
    found = await catalog.read(queries.detail, NAME)
    assert found is not None
    assert not found.conflict
    assert sum(len(owed) for _, owed in found.files) == 1
    gone = {held.site: (held.state, held.verified_at) for file, _ in found.files for held in file.instances}
    assert gone["summit"] == ("removed", None)


async def test_a_name_of_which_nothing_is_known_is_none(catalog: Catalog) -> None:
    assert await catalog.read(queries.detail, "raw/nothing") is None


# ---- totals ------------------------------------------------------------------------------------------------


async def test_totals_count_each_thing_once(catalog: Catalog) -> None:
    assert (await catalog.read(totals.count, SITE)).totals == api.Counts(
        files=0, instances_here=0, instances_elsewhere=0, conflicts=0, suspected=0, doubted=0
    )
    summit, campus = Peer("summit"), Peer("campus")
    await admit(catalog, summit, campus)
    await say(catalog, *(ingested(OWN.store, f"raw/{n}", size_bytes=10) for n in range(3)), removed(OWN.store, "raw/2"))
    await receive(catalog, *summit.say(registered(summit.store, "raw/0"), registered(summit.store, "raw/1", "other")))
    await receive(catalog, *summit.say(suspected(summit.store, "raw/1", "other")))
    await receive(catalog, *campus.say(registered(campus.store, "raw/0"), registered(campus.store, "raw/2")))
    await receive(catalog, *summit.say(doubted(campus, 1, "raw/0"), doubted(campus, 2, "raw/2")))
    assert (await catalog.read(totals.count, SITE)).totals == api.Counts(
        files=4, instances_here=2, instances_elsewhere=3, conflicts=1, suspected=1, doubted=2
    )
    assert [trouble.name for trouble in await catalog.read(queries.suspected, 10)] == ["raw/1"]
    assert [trouble.name for trouble in await catalog.read(queries.open_doubts, 10)] == ["raw/0", "raw/2"]
    (conflict,) = await catalog.read(queries.conflicts, 10)
    assert "from archive" in conflict.detail
    assert "an unknown site" in conflict.detail
    assert (await catalog.read(totals.count, SITE)).stores == {OWN.store: (2, 20)}
    await receive(catalog, *campus.say(healed(campus.store, "raw/0")))
    assert (await catalog.read(totals.count, SITE)).totals.doubted == 1


async def test_what_is_owed_is_counted_by_the_site_that_is_to_give_it(catalog: Catalog) -> None:
    peer = Peer("summit")
    await admit(catalog, peer)
    await receive(catalog, *peer.say(*(ingested(peer.store, f"raw/{n}", size_bytes=5) for n in range(3))))
    await receive(catalog, *peer.say(registered(peer.store, "raw/unknown-origin", size_bytes=7)))
    ids = [row.id for row in await catalog.read(rows, schema.file)]
    await catalog.write(transfers.create, [NewTransfer(file_id=id_, store=OWN.store, subscription="s") for id_ in ids])
    owed = (await catalog.read(totals.count, SITE)).owed
    assert {site: figures[:2] for site, figures in owed.items()} == {"summit": (3, 15), "": (1, 7)}
    assert all(since for _, _, since in owed.values())


async def test_files_are_listed_by_who_holds_them_and_what_is_safe_nowhere_else_is_counted(catalog: Catalog) -> None:
    summit, campus = Peer("summit"), Peer("campus")
    await admit(catalog, summit, campus)
    await say(catalog, *(ingested(OWN.store, f"raw/{n}", size_bytes=10) for n in range(3)))
    await say(catalog, registered("9" * 32, "raw/0", size_bytes=10))  # another store of this site
    await receive(catalog, *summit.say(registered(summit.store, "raw/1", size_bytes=10)))
    await receive(catalog, *campus.say(registered(campus.store, "raw/2", size_bytes=10)))
    await receive(catalog, *campus.say(suspected(campus.store, "raw/2")))
    await receive(catalog, *summit.say(ingested(summit.store, "raw/3")))

    async def listed(**held: Any) -> list[str]:
        page = await catalog.read(queries.files, match="**", after="", limit=10, held=queries.Held(**held))
        return [file.name.removeprefix("raw/") for file in page.files]

    assert await listed() == ["0", "1", "2", "3"]
    assert await listed(only_at=str(SITE)) == ["0", "2"]
    assert await listed(at="summit") == ["1", "3"]
    assert await listed(not_at="summit") == ["0", "2"]
    assert await listed(instances=2) == ["0", "1"]
    assert await listed(at=str(SITE), instances=1) == ["2"]
    assert (await catalog.read(totals.count, SITE)).only_here == (2, 20)
    await say(
        catalog,
        SiteRevoked(site=SiteName("summit"), key=summit.key.public, domain="d", grants=["**"], reason="it burnt down"),
    )
    assert (await catalog.read(totals.count, SITE)).only_here == (3, 30)
    assert await listed(only_at=str(SITE)) == ["0", "1", "2"]


async def test_what_a_revoked_site_holds_or_wants_counts_in_no_view(catalog: Catalog) -> None:
    """And of what stands in a retired store neither."""
    summit, campus = Peer("summit"), Peer("campus")
    await admit(catalog, summit, campus)
    await say(catalog, ingested(OWN.store, "raw/0"))
    await receive(catalog, *summit.say(registered(summit.store, "raw/0")))
    await receive(catalog, *summit.say(suspected(summit.store, "raw/1")))
    await receive(catalog, *summit.say(registered(summit.store, "raw/2")))
    await receive(
        catalog,
        *summit.say(SubscriptionDeclared(subscription="5" * 16, from_site=None, match="**", into=[summit.store])),
    )
    await receive(catalog, *campus.say(store_declared(campus.store), registered(campus.store, "raw/0")))
    await receive(catalog, *campus.say(doubted(summit, 1, "raw/0")))
    assert (await catalog.read(totals.count, SITE)).totals == api.Counts(
        files=3, instances_here=1, instances_elsewhere=3, conflicts=0, suspected=1, doubted=1
    )
    await say(
        catalog,
        SiteRevoked(site=SiteName("summit"), key=summit.key.public, domain="d", grants=["**"], reason="it burnt down"),
    )
    await receive(catalog, *campus.say(StoreRetired(store=campus.store)))
    assert (await catalog.read(totals.count, SITE)).totals == api.Counts(
        files=3, instances_here=1, instances_elsewhere=0, conflicts=0, suspected=0, doubted=0
    )
    page = await catalog.read(queries.files, match="**", after="", limit=10)
    assert {file.name: file.sites for file in page.files} == {"raw/0": ["archive"], "raw/1": [], "raw/2": []}
    found = await catalog.read(queries.detail, "raw/0")
    assert found is not None
    shown = {
        held.site: (held.state, held.verified_at is not None) for file, _ in found.files for held in file.instances
    }
    assert shown == {"archive": ("verified", True), "summit": ("revoked", False), "campus": ("retired", False)}
    assert await catalog.read(queries.suspected, 10) == []
    assert await catalog.read(queries.open_doubts, 10) == []
    assert await catalog.read(queries.subscriptions) == []
    (facts_of,) = await catalog.read(explanation.facts, SITE, SITE, Name("raw/0"), ["http"], 0.0)
    assert {(report.site, report.state) for report in facts_of.instances} == {
        ("archive", "available"),
        ("summit", "revoked"),
    }
