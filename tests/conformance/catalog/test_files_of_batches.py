"""Single files of a batch: nothing is written before they take their names, and a start finishes what stands there."""

from __future__ import annotations

import pytest
from tests.conformance.catalog.peers import Peer, ingested, suspected
from tests.conformance.catalog.reconcilers import reconciler
from tests.conformance.catalog.running import NOW_S, SITE, admit, count, looked_at, receive, rows, say
from tests.support.memory_store import MemoryStore
from tests.support.memory_volume import Inode, Volume

from librarian_adapters.contract import Item, Part
from librarian_daemon.catalog import schema
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.transfers import batch_rows, order, planning, transfers, transitions
from librarian_daemon.catalog.transfers.transfers import NewTransfer, TransferView
from librarian_daemon.catalog.transfers.transitions import Transition
from librarian_daemon.incidents.recorder import CatalogIncidents
from librarian_daemon.ports.staging_keys import transfer_key
from librarian_daemon.runtime.clock import SystemClock
from librarian_daemon.runtime.metrics import Metrics
from librarian_daemon.transfers.lander import Arrived, Lander
from librarian_protocol.entries import AdapterOffer, Dial, SubscriptionDeclared
from librarian_protocol.names import SiteName
from librarian_protocol.transfer import Cancel

OWN = Peer(SITE)
SUMMIT = SiteName.parse("summit")
HTTP = AdapterOffer(name="http", version=1, address="127.0.0.1:7400", dial=Dial.DESTINATION)
#: Each as long as the entries of ``peers`` say.
DATA = {f"raw/{number}": f"bytes of {number:02}".encode() for number in range(4)}


class Rig:
    """A batch of four files that is on its way into a store."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.volume = Volume()
        self.store = MemoryStore(self.volume, id_=OWN.store, label="main")
        self.owed: list[TransferView] = []

    @property
    def lander(self) -> Lander:
        return Lander(self.catalog, _Clock(), Metrics(SITE), CatalogIncidents(self.catalog))

    async def begin(self) -> None:
        peer = Peer("summit")
        await admit(self.catalog, peer)
        told = [ingested(peer.store, name, data.decode()) for name, data in DATA.items()]
        await receive(self.catalog, *peer.say(*told))
        ids = [row.id for row in await self.catalog.read(rows, schema.file)]
        wishes = [NewTransfer(file_id=id_, store=OWN.store, subscription="s") for id_ in ids]
        await self.catalog.write(transfers.create, wishes)
        self.owed = await self.catalog.read(order.wanted_now, 10)

        def work(tx: Tx) -> None:
            batch_rows.open_batch(tx, "b", SUMMIT, "s", HTTP, self.owed)
            batch_rows.take(tx, "b", SUMMIT, "http", {view.id: "" for view in self.owed})

        await self.catalog.write(work)

    async def arrive(self) -> None:
        """All of it is staged, and lands."""
        items = [(_item(view), DATA[view.name]) for view in self.owed]
        await self.store.staging.put(items)
        arrived = [
            Arrived(owed=view, source=SUMMIT, adapter="http", batch="b", other_source=False) for view in self.owed
        ]
        await self.lander.land(self.store, arrived)

    async def states(self) -> list[str]:
        found = await self.catalog.read(transfers.by_ids, [view.id for view in self.owed])
        return [view.row.transfer.state.value for view in found]

    async def said(self) -> list[str]:
        return [row.kind for row in await self.catalog.read(rows, schema.journal, schema.journal.c.site == str(SITE))]


class _Clock(SystemClock):
    def boottime_s(self) -> float:
        return NOW_S


def _item(view: TransferView) -> Item:
    return Item(
        key=transfer_key(view.id),
        part=Part.FILE,
        name=view.name,
        file_digest=view.digest,
        digest=view.digest,
        size_bytes=view.size_bytes,
    )


@pytest.fixture
async def rig(catalog: Catalog) -> Rig:
    made = Rig(catalog)
    await made.begin()
    return made


async def test_they_land_in_one_commit_without_a_row_of_their_own(rig: Rig) -> None:
    before = rig.catalog.position.seq
    await rig.arrive()
    assert await rig.states() == ["stored"] * 4
    assert {name: bytes(found.data) for name, found in rig.volume.named.items()} == DATA
    assert (await rig.said())[1:] == ["instance.registered"]
    assert rig.catalog.position.seq == before + 4
    assert await rig.catalog.read(count, schema.verified) == 4
    assert await rig.catalog.read(count, schema.landing) == 0


async def test_what_was_cancelled_meanwhile_gets_no_name_and_leaves_staging(rig: Rig) -> None:
    await rig.catalog.write(
        transitions.apply_transitions, [Transition(view=rig.owed[0], event=Cancel(by_person=True))], NOW_S
    )
    await rig.arrive()
    assert await rig.states() == ["cancelled", "stored", "stored", "stored"]
    assert rig.volume.named.keys() == DATA.keys() - {"raw/0"}
    assert rig.volume.staged == {}


async def test_the_planner_looks_again_only_at_what_something_else_waits_for(rig: Rig) -> None:
    """A transfer into another store, and what a person wants there."""

    def begin(tx: Tx) -> None:
        first, second, *_ = rig.owed
        transfers.create(tx, [NewTransfer(file_id=first.row.file_id, store="f" * 32, subscription="s")])
        planning.add_one_off(tx, second.row.file_id, "f" * 32, None)

    await rig.catalog.write(begin)
    page = await rig.catalog.read(planning.changed_files, 10, ["**"])
    assert page.last is not None
    await rig.catalog.write(planning.planned_until, *page.last)
    await rig.arrive()
    assert await rig.states() == ["stored"] * 4
    page = await rig.catalog.read(planning.changed_files, 10, ["**"])
    assert sorted(name for name, _ in looked_at(page).values()) == ["raw/0", "raw/1"]


async def test_the_planner_looks_at_what_came_for_a_subscription_to_this_site(rig: Rig) -> None:
    await say(
        rig.catalog,
        SubscriptionDeclared(subscription="0" * 16, from_site=SITE, match="**", into=["f" * 32]),
    )
    page = await rig.catalog.read(planning.changed_files, 10, ["**"])
    assert page.last is not None
    await rig.catalog.write(planning.planned_until, *page.last)
    await rig.arrive()
    page = await rig.catalog.read(planning.changed_files, 10, ["**"])
    assert sorted(name for name, _ in looked_at(page).values()) == sorted(DATA)


async def test_a_start_finishes_what_stands_at_its_name_and_only_that(rig: Rig) -> None:
    """It died between the renames and the commit. Wrong bytes of the right size stand at one name."""
    right, wrong = DATA["raw/0"], b"x" * len(DATA["raw/1"])
    rig.volume.named = {"raw/0": Inode(right), "raw/1": Inode(wrong)}
    await rig.store.staging.put([(_item(rig.owed[2]), DATA["raw/2"])])
    for finished in (1, 0):
        assert await rig.lander.recover(rig.store) == finished
        assert await rig.states() == ["stored", "fetching", "fetching", "fetching"]
        assert (await rig.said())[1:] == ["instance.registered"]
    assert bytes(rig.volume.named["raw/1"].data) == wrong
    assert await rig.catalog.write(batch_rows.restart) == 3
    assert await rig.states() == ["stored", "wanted", "wanted", "wanted"]


async def test_a_store_that_is_away_at_a_start_loses_nothing(rig: Rig) -> None:
    rig.volume.named = {"raw/0": Inode(DATA["raw/0"])}
    rig.volume.mounted = False
    assert await rig.lander.recover(rig.store) == 0
    rig.volume.mounted = True
    assert await rig.lander.recover(rig.store) == 1


async def test_what_may_meet_something_at_its_name_has_a_row_of_its_own(rig: Rig) -> None:
    """An instance that is suspected stands there: its bytes leave the name first."""
    view = rig.owed[0]
    await say(rig.catalog, suspected(OWN.store, "raw/0", DATA["raw/0"].decode()))
    rig.volume.named = {"raw/0": Inode(b"x" * view.size_bytes)}
    await rig.arrive()
    assert await rig.states() == ["stored"] * 4
    assert bytes(rig.volume.named["raw/0"].data) == DATA["raw/0"]
    assert await rig.catalog.read(count, schema.landing) == 0


async def test_what_stands_at_its_name_before_it_is_registered_is_not_called_unknown(rig: Rig) -> None:
    """Once it is no longer on its way it is."""
    first, second, *_ = rig.owed
    for view in (first, second):
        rig.volume.named[view.name] = Inode(DATA[view.name])
    reconciling = reconciler(rig.catalog, rig.store, CatalogIncidents(rig.catalog))
    (report,) = await reconciling.once()
    assert (report.unknown, report.error) == (0, "")
    await rig.catalog.write(transitions.apply_transitions, [Transition(view=second, event=Cancel())], NOW_S)
    (report,) = await reconciling.once()
    assert (report.unknown, report.unknown_examples) == (1, [second.name])
