"""A withdrawn file: its bytes leave their name at each holder, and another file may have it; bad bytes are replaced."""

from __future__ import annotations

import pytest
from tests.conformance.catalog.peers import Peer, ingested, registered, suspected, withdrawn
from tests.conformance.catalog.running import SITE, admit, receive, rows, say

from librarian_daemon.catalog import landings, schema
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.integrity import withdrawals
from librarian_daemon.catalog.journal import refold
from librarian_daemon.catalog.meta import put_meta
from librarian_daemon.catalog.status import queries
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.transfers import planning
from librarian_daemon.ports.store import Action, Landing
from librarian_daemon.transfers.planner import decide
from librarian_protocol.entries import (
    AdapterOffer,
    Dial,
    How,
    InstanceRegistered,
    SiteAnnounced,
    StoreDeclared,
    StoreRole,
    SubscriptionDeclared,
)
from librarian_protocol.names import Name

OWN = Peer(SITE)
NAME = Name("raw/1")
STORE = StoreDeclared(
    store=OWN.store, label="main", role=StoreRole.ARCHIVE, technology="posix", active=True, ingestable=True
)


def _landing(catalog_id: str, entry: object, action: Action = Action.PLACE) -> Landing:
    file = ingested(OWN.store, "raw/1")
    return Landing(
        id=catalog_id,
        store=OWN.store,
        root="/s",
        rel="r",
        name=file.name,
        digest=file.digest,
        size_bytes=file.size_bytes,
        unit=file.unit,
        entry=entry,  # type: ignore[arg-type]  # entries of all kinds
        action=action,
    )


async def _peer(catalog: Catalog) -> Peer:
    """Another site with an offer."""
    summit = Peer("summit")
    await admit(catalog, summit)
    offer = AdapterOffer(name="http", version=1, address="http://data.example", dial=Dial.DESTINATION)
    await receive(catalog, *summit.say(SiteAnnounced(software="s", adapters=[offer])))
    return summit


async def _wished(catalog: Catalog) -> list[str]:
    """Names that transfers are made for, of all that changed."""
    page = await catalog.read(planning.changed_files, 100, ["**"])
    plan = decide(page, *await catalog.read(planning.load_here, SITE, ["http"]))
    names = {state.file_id: f"{state.file.name} {state.file.digest[:12]}" for state in page.known}
    return [names[new.file_id] for new in plan.wishes]


async def test_a_withdrawn_file_leaves_its_name_and_only_then_another_one_is_fetched(catalog: Catalog) -> None:
    summit = await _peer(catalog)
    await say(catalog, STORE, ingested(OWN.store, "raw/1"))
    await say(catalog, SubscriptionDeclared(subscription="5" * 16, from_site=None, match="**", into=[OWN.store]))
    await say(catalog, withdrawn("raw/1"))
    longer = ingested(summit.store, "raw/1", "longer")
    await receive(catalog, *summit.say(longer))
    assert await _wished(catalog) == [], "the name is not free yet"
    (leaving,) = await catalog.read(withdrawals.due, SITE, 10)
    assert (leaving.holding.name, leaving.aside, leaving.replaced) == (NAME, False, False)
    landing = _landing("w-1", withdrawals.withdrawn(leaving.holding), Action.WITHDRAW)
    await catalog.write(landings.begin, [landing])
    assert await catalog.read(withdrawals.unfinished, OWN.store) == [landing], "a crash finds it again"
    for _ in range(2):
        await catalog.write(withdrawals.finish, landing)
    assert await catalog.read(withdrawals.due, SITE, 10) == []
    assert await _wished(catalog) == [f"raw/1 {longer.digest[:12]}"]
    found = await catalog.read(queries.detail, "raw/1")
    assert found is not None
    assert {
        instance.site: instance.state for file, _ in found.files for instance in file.instances if file.withdrawn
    } == {SITE: "removed"}


async def test_where_another_file_has_the_name_by_now_nothing_is_moved(catalog: Catalog) -> None:
    await say(catalog, ingested(OWN.store, "raw/1"), suspected(OWN.store, "raw/1"), withdrawn("raw/1"))
    await say(catalog, ingested(OWN.store, "raw/1", "longer"))
    (leaving,) = await catalog.read(withdrawals.due, SITE, 10)
    assert leaving.replaced


async def test_withdrawing_is_said_once(catalog: Catalog) -> None:
    """A person withdraws the same file twice: the second command adds nothing to the journal."""
    await say(catalog, ingested(OWN.store, "raw/1"))
    digest = ingested(OWN.store, "raw/1").digest
    assert len(await catalog.write(withdrawals.withdraw, NAME, [digest], "too short")) == 1
    assert await catalog.write(withdrawals.withdraw, NAME, [digest], "too short") == []


async def test_a_bad_instance_is_fetched_again_whoever_subscribes_and_its_landing_heals_it(catalog: Catalog) -> None:
    summit = await _peer(catalog)
    await say(catalog, STORE, ingested(OWN.store, "raw/1"), suspected(OWN.store, "raw/1"))
    assert await _wished(catalog) == [], "nobody else has it"
    await receive(catalog, *summit.say(registered(summit.store, "raw/1")))
    assert [line.partition(" ")[0] for line in await _wished(catalog)] == ["raw/1"]
    (begun,) = await catalog.write(landings.begin, [_landing("17", registered(OWN.store, "raw/1"))])
    assert begun.action is Action.HEAL


async def test_what_is_dropped_again_is_found_and_keeps_its_origin(catalog: Catalog) -> None:
    summit = await _peer(catalog)
    await receive(catalog, *summit.say(ingested(summit.store, "raw/1", mtime_ns=5)))
    again = _landing("i-1", ingested(OWN.store, "raw/1", mtime_ns=7))
    await catalog.write(landings.begin, [again])
    (said,) = await catalog.write(landings.finish, [again])
    assert isinstance(said.entry, InstanceRegistered)
    assert said.entry.how is How.FOUND
    (row,) = await catalog.read(rows, schema.file)
    assert row.origin_site == "summit"
    (mine,) = await catalog.read(rows, schema.instance, schema.instance.c.site == str(SITE))
    assert (mine.how, mine.source_site) == ("found", SITE)


@pytest.mark.parametrize("recovered_first", [True, False])
async def test_an_ingest_that_a_recovery_wrote_is_the_last_origin(catalog: Catalog, recovered_first: bool) -> None:
    """Archive comes before summit in the alphabet; it wrote its ingest when it recovered."""
    summit = await _peer(catalog)
    told = summit.say(ingested(summit.store, "raw/1", mtime_ns=5))
    if not recovered_first:
        await receive(catalog, *told)
    await say(catalog, ingested(OWN.store, "raw/1", mtime_ns=0))
    if recovered_first:
        await receive(catalog, *told)
    (row,) = await catalog.read(rows, schema.file)
    assert (row.origin_site, row.origin_last) == ("summit", False)


async def test_origins_of_before_are_found_anew_once(catalog: Catalog) -> None:
    summit = await _peer(catalog)
    await receive(catalog, *summit.say(ingested(summit.store, "raw/1", mtime_ns=5)))
    await say(catalog, ingested(OWN.store, "raw/1", mtime_ns=0), ingested(OWN.store, "raw/2", mtime_ns=0))

    def as_it_was(tx: Tx) -> None:
        file = schema.file
        seq = {"raw/1": 2, "raw/2": 3}
        for row in rows(tx.connection, file):
            tx.connection.execute(
                file.update()
                .where(file.c.id == row.id)
                .values(
                    origin_site=str(SITE),
                    origin_epoch=tx.position.epoch,
                    origin_incarnation=tx.position.incarnation,
                    origin_seq=seq[row.name],
                    origin_last=False,
                )
            )
        put_meta(tx.connection, refold.ORIGINS, "found anew")

    await catalog.write(as_it_was)
    assert await catalog.write(refold.refold_origins)
    found = {row.name: (row.origin_site, row.origin_last) for row in await catalog.read(rows, schema.file)}
    assert found == {"raw/1": ("summit", False), "raw/2": (SITE, True)}
    assert not await catalog.write(refold.refold_origins)
