"""Services over a store that is no directory of this host; and over one that cannot set aside, nor list."""

from __future__ import annotations

import pytest
from tests.conformance.catalog.peers import Peer, ingested, removed, withdrawn
from tests.conformance.catalog.reconcilers import reconciler
from tests.conformance.catalog.running import SITE, say
from tests.support.intake import FakeIncidents
from tests.support.memory_store import MemoryStore
from tests.support.memory_volume import OURS, Inode, Volume

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.integrity import comparison
from librarian_daemon.integrity.withdrawals import Withdrawals
from librarian_daemon.recovery.restatement import Restater
from librarian_daemon.runtime.clock import SystemRng
from librarian_protocol.entries import StoreDeclared, StoreRole
from librarian_protocol.names import Name

OWN = Peer(SITE)
DECLARED = StoreDeclared(
    store=OWN.store, label="main", role=StoreRole.ARCHIVE, technology="posix", active=True, ingestable=True
)
CASES = pytest.mark.parametrize("able", [True, False], ids=["able", "core-only"])


def store_with(*names: str, able: bool) -> MemoryStore:
    """Files whose bytes are their names."""
    volume = Volume()
    volume.named = {name: Inode(name.encode()) for name in names}
    return MemoryStore(volume, id_=OWN.store, label="main", keeps=able, lists=able)


async def known(catalog: Catalog, *names: str) -> None:
    await say(catalog, DECLARED, *(ingested(OWN.store, name, size_bytes=len(name)) for name in names))


@CASES
async def test_what_is_withdrawn_leaves_its_name_or_the_reason_is_told(catalog: Catalog, able: bool) -> None:
    store, incidents = store_with("raw/1", able=able), FakeIncidents()
    await known(catalog, "raw/1")
    await say(catalog, withdrawn("raw/1"))
    await Withdrawals(catalog, {store.id: store}, incidents, SystemRng(), SITE).carry_out()
    (where,) = store.volume.named
    if able:
        assert where.startswith(f"{OURS}/withdrawn/")
        assert incidents.now == {}
    else:
        assert where == "raw/1"
        assert "store 'main' cannot set bytes aside" in incidents.now["name-not-moved", "raw/1"]


@CASES
async def test_rows_are_compared_in_every_store_and_names_where_they_can_be_listed(
    catalog: Catalog, able: bool
) -> None:
    store, incidents = store_with("here", "unknown", able=able), FakeIncidents()
    await known(catalog, "here", "lost")
    (report,) = await reconciler(catalog, store, incidents).once()
    assert (report.wrong, report.acted) == (1, True)
    if able:
        assert (report.unknown, report.unknown_examples, report.error) == (1, ["unknown"], "")
    else:
        assert report.error == "store 'main' cannot list what stands in it"


@CASES
async def test_a_restored_catalog_is_stated_anew_as_far_as_the_store_can_be_looked_at(
    catalog: Catalog, able: bool
) -> None:
    store = store_with("here", "accepted-since", able=able)
    await known(catalog, "here", "lost")
    await Restater(catalog, [store], SITE).run()
    page = await catalog.read(comparison.instances_after, SITE, store.id, 0, 10)
    states = {holding.name: holding.state for holding in page.holdings}
    since = {Name("accepted-since"): "available"} if able else {}
    assert states == {Name("here"): "available", Name("lost"): "suspected"} | since


async def test_what_leaves_its_name_while_names_are_compared_is_not_called_unknown(catalog: Catalog) -> None:
    """It was listed; before its row was read it was withdrawn, and its bytes moved away."""
    store, incidents = store_with("here", "leaving", able=True), FakeIncidents()
    await known(catalog, "here", "leaving")
    looks: list[str] = []

    async def at(step: str, what: str) -> None:
        if step == "look":
            looks.append(what)
            if len(looks) == 2:  # the first is about the rows
                store.volume.move("leaving", f"{OURS}/withdrawn/1")

    store = MemoryStore(store.volume, id_=OWN.store, label="main", at=at)
    await say(catalog, removed(OWN.store, "leaving"))
    (report,) = await reconciler(catalog, store, incidents).once()
    assert len(looks) == 2
    assert (report.unknown, report.wrong) == (0, 0)
