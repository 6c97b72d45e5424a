"""One site of a simulation: the daemon's own services on simulated ports, begun again after each death.

Intake is the one thing that is not the daemon's own here: it works on real directories. In its place stands a loop that
takes things out of a list by the same commit protocol (stage, seal, begin, place, accept), over the same ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from sqlalchemy import select
from tests.simulation.catalog import SimDatabase
from tests.simulation.loop import Process
from tests.simulation.network import SimAdapter, SimBus
from tests.simulation.world import SimClock, SimRng, World

from librarian_adapters.contract import Item
from librarian_adapters.contract import Part as ItemPart
from librarian_adapters.stalling import Stalling
from librarian_adapters.verifying import Verifying
from librarian_daemon.catalog import schema
from librarian_daemon.catalog.declaring import Declared, declare
from librarian_daemon.catalog.roster import Anchor, put_anchor, roster
from librarian_daemon.catalog.writer import Catalog, Tx
from librarian_daemon.custodian import Custodian
from librarian_daemon.fetching import Moved
from librarian_daemon.heads import Heads
from librarian_daemon.incarnations import Incarnations
from librarian_daemon.lander import Lander
from librarian_daemon.ledger import CatalogLedger
from librarian_daemon.membership import Membership
from librarian_daemon.metrics import Metrics
from librarian_daemon.notices import CatalogIncidents
from librarian_daemon.planner import Planner
from librarian_daemon.ports import Landing, Placed
from librarian_daemon.projection import Projection
from librarian_daemon.publisher import Publisher
from librarian_daemon.reconciling import clean
from librarian_daemon.recovery import Recoverer
from librarian_daemon.repairing import Answering, Repairer
from librarian_daemon.replicator import Replicator
from librarian_daemon.restating import Restater
from librarian_daemon.settings import ReplicatorSettings
from librarian_daemon.signals import Signal
from librarian_daemon.supervising import supervise
from librarian_daemon.taking import Taking
from librarian_protocol.digests import Digest
from librarian_protocol.entries import (
    Access,
    FileIngested,
    InstanceDoubted,
    SiteAdmitted,
    SiteAnnounced,
    SubscriptionDeclared,
    Unit,
)
from librarian_protocol.errors import CatalogFault, NameOccupied, StoreError
from librarian_protocol.keys import SiteKey
from librarian_protocol.names import Name, SiteName

MESH = "5" * 32


def key_of(site: SiteName) -> SiteKey:
    return SiteKey(Digest.blake3(str(site).encode()).hex.encode()[:32])


class SimSite:
    """What of a site outlives its daemon, and how the daemon is started."""

    def __init__(self, world: World, site: SiteName) -> None:
        self.world = world
        self.site = site
        self.database = SimDatabase(world, site)
        self.store = world.stores[site]
        self.clock = SimClock(world, world.chance.uniform(-1e5, 1e5))
        self.process = Process(str(site))
        #: What stands in the drop directory, and what was accepted.
        self.dropped: dict[str, bytes] = {}
        self.accepted: dict[str, bytes] = {}
        #: Not taken in, since other bytes stood at the name already.
        self.refused: dict[str, bytes] = {}
        self.starts = 0
        anchor = Anchor(mesh=MESH, site=world.names[0], key=key_of(world.names[0]).public)
        self.database.inline(put_anchor, anchor)

    def start(self) -> None:
        """A new daemon."""
        self.starts += 1
        self.process = Process(f"{self.site}#{self.starts}")
        self.world.loop.spawn(self._ended(), self.process)

    async def _ended(self) -> None:
        try:
            await self._run()
        except Exception as exc:  # noqa: BLE001 - whatever ends a daemon is what we look for
            self.world.violated(f"the daemon of {self.site} ended by itself: {exc!r}")

    async def _run(self) -> None:
        self.catalog = catalog = Catalog(self.database, self.clock, key_of(self.site))
        async with asyncio.TaskGroup() as group:
            group.create_task(catalog.run())
            while True:
                try:
                    await self._serve(catalog)
                except CatalogFault:
                    await asyncio.sleep(1.0)  # the init system starts it again

    async def _serve(self, catalog: Catalog) -> None:
        world, site, clock = self.world, self.site, self.clock
        key = key_of(site)
        store: Any = self.store
        rng: Any = SimRng(world)
        incarnations = Incarnations(catalog, [store], rng, clock, site, witness_every_s=1.0)
        await incarnations.begin()
        metrics = Metrics(site)
        incidents = CatalogIncidents(catalog)
        bus: Any = SimBus(world, site)
        lacking = Signal()
        taking = Taking(catalog, incidents, metrics, site)
        projection = Projection(catalog, bus, clock, site, taking, gap=lacking)
        membership = Membership(
            catalog=catalog,
            bus=bus,
            clock=clock,
            rng=rng,
            site=site,
            domain="d",
            administrator=None,
            key=key,
            follow=projection.follow,
        )
        heads = Heads(
            catalog=catalog,
            bus=bus,
            incidents=incidents,
            clock=clock,
            site=site,
            key=key,
            membership=membership,
            metrics=metrics,
            every_s=10.0,
            heard=lacking,
        )
        repairer = Repairer(catalog, bus, clock, site, taking, heard=lacking, every_s=10.0)
        answering = Answering(catalog)
        custodian = Custodian(catalog, {store.id: store}, incidents, clock, site, metrics, 50)
        catalog.watch(custodian.wake, InstanceDoubted)
        adapter: Any = Verifying(Stalling(SimAdapter(world, site), stall_s=30.0))
        moved = Moved(catalog, clock)
        lander = Lander(catalog, clock, metrics)
        changed = Signal()
        planner = Planner(catalog, clock, site, ["sim"], changed)
        replicator = Replicator(
            catalog=catalog,
            stores={store.id: store},
            adapters={"sim": adapter},
            lander=lander,
            moved=moved,
            clock=clock,
            rng=rng,
            site=site,
            settings=ReplicatorSettings(concurrency=2, batch_files=8),
            limits={},
            metrics=metrics,
            wake=changed,
        )
        publisher = Publisher(catalog, bus, incidents, clock, site, key, metrics, membership.changed)
        ledger = CatalogLedger(catalog, metrics)

        await lander.recover(store)
        await self._recover_intake(ledger)
        await clean(store, catalog, services_run=False)
        if site == world.names[0]:
            await membership.found()
            await catalog.write(_admit, [one for one in world.names if one != site])
        offer = adapter.offer()
        declared = [Declared(id=store.id, label="main", role=store.role, ingestable=True)]

        async def redeclare() -> None:
            await catalog.write(declare, site, declared, SiteAnnounced(software="sim", adapters=[offer]))

        await redeclare()
        recoverer = Recoverer(
            catalog=catalog,
            incidents=incidents,
            clock=clock,
            site=site,
            restater=Restater(catalog, [store], site),
            found=membership.found,
            renew=incarnations.renew,
            redeclare=redeclare,
        )
        await catalog.write(_subscribe, site, store.id)
        await membership.admit_to_bus()

        async def answer() -> None:
            await bus.answer(answering)

        async def intake() -> None:
            while True:
                await self._take_in(ledger, rng)
                await clock.sleep(0.5)

        services: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "roster": membership.run,
            "projection": projection.run,
            "heads": heads.run_announcing,
            "listener": heads.run_listening,
            "repairer": repairer.run,
            "recovery": recoverer.run,
            "answering": answer,
            "publisher": publisher.run,
            "planner": planner.run,
            "replicator": replicator.run,
            "custodian": custodian.run,
            "witness": incarnations.run,
            "intake": intake,
        }
        async with asyncio.TaskGroup() as group:
            for name, service in services.items():
                group.create_task(supervise(name, service, incidents, clock))

    # ---- taking in ---------------------------------------------------------------------------------------

    async def _take_in(self, ledger: CatalogLedger, rng: Any) -> None:
        for name, data in list(self.dropped.items()):
            await self.world.gate(self.site, "claim", name)
            digest = Digest.blake3(data)
            key = f"i{rng.hex(16)}"
            item = Item(
                key=key,
                part=ItemPart.FILE,
                name=Name.parse(name),
                file_digest=digest,
                digest=digest,
                size_bytes=len(data),
            )
            landing = self._landing(key, item)
            try:
                await self.store.put([(item, data)])
                (sealed,) = await self.store.seal([landing])
                if not isinstance(sealed, Landing):
                    continue
                await ledger.begin([sealed])
                await self._finish(ledger, sealed, await self.store.place([sealed]))
            except StoreError:
                continue  # it stays where it was dropped

    def _landing(self, key: str, item: Item) -> Landing:
        return Landing(
            id=key,
            store=self.store.id,
            root=self.store.staging_root,
            rel=key,
            name=item.name,
            digest=item.digest,
            size_bytes=item.size_bytes,
            unit=Unit.FILE,
            entry=FileIngested(
                name=item.name,
                digest=item.digest,
                size_bytes=item.size_bytes,
                unit=Unit.FILE,
                store=self.store.id,
                mtime_ns=0,
            ),
        )

    async def _finish(self, ledger: CatalogLedger, landing: Landing, placed: Any) -> None:
        (one,) = placed
        if isinstance(one, Placed):
            await ledger.accept([landing])
            self._was_accepted(landing)
        else:
            await ledger.abandon([landing])
            name = str(landing.name)
            if isinstance(one.error, NameOccupied) and name in self.dropped:
                self.refused[name] = self.dropped.pop(name)

    async def _recover_intake(self, ledger: CatalogLedger) -> None:
        for landing in await ledger.unfinished(self.store.id):
            if landing.transfer is None:
                await self._finish(ledger, landing, [await self.store.recover(landing)])

    def _was_accepted(self, landing: Landing) -> None:
        """The promise is made: from here on the bytes must not be lost."""
        name = str(landing.name)
        data = self.dropped.pop(name, self.accepted.get(name))
        if data is not None:
            self.accepted[name] = data
        if self.store.holds(name) != data:
            self.world.violated(f"I1: {self.site} accepted {name}, which does not stand in its store")


def _admit(tx: Tx, sites: list[SiteName]) -> None:
    """Once."""
    known = roster(tx.connection)
    tx.say(
        *(
            SiteAdmitted(site=one, key=key_of(one).public, access=Access.FULL, domain=str(one), grants=["**"])
            for one in sites
            if one not in known
        )
    )


def _subscribe(tx: Tx, site: SiteName, store: str) -> None:
    """Once: everything, from anybody."""
    column = schema.subscription.c
    if tx.connection.execute(select(column.id).where(column.site == str(site))).first() is None:
        tx.say(SubscriptionDeclared(subscription="a" * 16, from_site=None, match="**", into=[store]))
