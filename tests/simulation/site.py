"""One site of a simulation: the daemon's own services on simulated ports, begun again after each death.

The services are made by the builders of ``librarian_daemon.assembly``, as the daemon's are: what is added to one of
them runs here, too. What is left out stands below, with the reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import select
from tests.simulation.catalog import SimDatabase
from tests.simulation.giving_up import SimEvidence, Wishes, required
from tests.simulation.loop import Process
from tests.simulation.network import SimAdapter, SimBus
from tests.simulation.rules import Rules
from tests.simulation.world import SimClock, SimRng, World

from librarian_adapters.contract import Item
from librarian_adapters.contract import Part as ItemPart
from librarian_adapters.wrappers.least_rate import Paces
from librarian_adapters.wrappers.stalling import StallingAdapter
from librarian_adapters.wrappers.verifying import VerifyingAdapter
from librarian_daemon.assembly.eviction import build_eviction
from librarian_daemon.assembly.integrity import build_integrity
from librarian_daemon.assembly.journal import build_inbound, build_journal
from librarian_daemon.assembly.mesh import build_mesh
from librarian_daemon.assembly.ports import Ports, services_of
from librarian_daemon.assembly.recovery import build_recovery
from librarian_daemon.assembly.transfers import build_transfers
from librarian_daemon.catalog import schema
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.mesh.declarations import Declared, declare
from librarian_daemon.catalog.mesh.roster import Anchor, put_anchor, roster
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.config.settings import (
    BusSettings,
    KeepSettings,
    ReplicatorSettings,
    RetentionSettings,
    ScrubSettings,
    SiteSettings,
)
from librarian_daemon.incidents.recorder import CatalogIncidents
from librarian_daemon.incidents.store_health import Health
from librarian_daemon.intake.ledger import CatalogLedger
from librarian_daemon.integrity.reconciler import clean
from librarian_daemon.journal.incarnation import Incarnations
from librarian_daemon.landing import commit
from librarian_daemon.landing.commit import Steps
from librarian_daemon.landing.rooms import Rooms
from librarian_daemon.ports.names_lock import NamesLock
from librarian_daemon.ports.store import Landing, NotPlaced, SiteStore
from librarian_daemon.runtime.metrics import Metrics
from librarian_daemon.runtime.supervisor import supervise
from librarian_daemon.transfers.pauses import Pauses
from librarian_protocol.digests import Digest
from librarian_protocol.entries import (
    Access,
    FileIngested,
    SiteAdmitted,
    SiteAnnounced,
    SubscriptionDeclared,
    Unit,
)
from librarian_protocol.errors import CatalogFault, NameOccupied, StoreError
from librarian_protocol.keys import SiteKey
from librarian_protocol.names import Name, SiteName

MESH = "5" * 32

#: Builders that are not used here, and why. For intake stands a loop that takes things out of a list by the same commit
#: protocol, over the same ledger; for the data plane an adapter that copies from
#: another site's store.
BUILDERS_LEFT_OUT = {
    "build_intakes": "it walks real directories",
    "build_dataplane": "it is real HTTP",
    "build_declarations": "the configuration never changes, and is said without a look at what counts already",
    "build_attachments": "no person changes stores",
    "build_watch": "it looks at real filesystems, and tells people",
    "build_status": "it shows, and changes nothing",
    "build_doctor": "it shows, and changes nothing",
    "build_page": "it is real HTTP, and changes nothing",
    "build_control": "no person asks for anything",
    "build_inquiries": "no person asks for anything",
}
#: Services of the other builders that are not run here, and why. What is named nowhere here runs.
LEFT_OUT = {
    "inviter": "sites are admitted from the start",
    "joiner": "sites are admitted from the start",
    "signing": "no site signs with another key than its own",
    "teller": "no site has access by letter",
    "pauses": "nobody pauses anything",
    "names": "nobody decides which file has a name",
    "withdrawals": "nobody withdraws a file",
    "reconciler": "it reads whole stores at each start, and finds only what was done to them from outside",
}
#: In this order they begin, and then whatever else there is: seeds are chosen for runs that go so.
ORDER = (
    "roster",
    "projection",
    "heads",
    "listener",
    "repairer",
    "recovery",
    "answering",
    "publisher",
    "planner",
    "replicator",
    "custodian",
    "witness",
)


#: More bad instances than this within a pass freeze a store.
FREEZE_AT = 2


def settings_of(site: SiteName, sites: int, scrub_every: str = "1m") -> SiteSettings:
    """What is configured at a site, one of so many."""
    keep = required(sites)
    return SiteSettings(
        site=site,
        domain="d",
        bus=BusSettings(heads_every_s=10.0),
        replicator=ReplicatorSettings(concurrency=2, batch_files=8),
        retention=RetentionSettings(keep=KeepSettings(instances=keep, domains=keep), trash="4s"),
        scrub=ScrubSettings(every=scrub_every, rate="1MiB/s", freeze_at=FREEZE_AT),
    )


def _in_order(services: Collection[str]) -> list[str]:
    """Those that run."""
    unknown = sorted(LEFT_OUT.keys() - set(services))
    assert not unknown, f"left out, and no builder makes them: {unknown}"
    return [*ORDER, *(name for name in services if name not in ORDER and name not in LEFT_OUT)]


def key_of(site: SiteName) -> SiteKey:
    return SiteKey(Digest.blake3(str(site).encode()).hex.encode()[:32])


class SimHealth:
    """A store is well, or does not answer."""

    def __init__(self, stores: Mapping[str, SiteStore]) -> None:
        self._stores = stores

    async def room(self, store_id: str) -> Health:
        try:
            return Health(space=await self._stores[store_id].space())
        except StoreError as exc:
            return Health(code="store-fault", message=exc.message)

    def doubt(self, store_id: str) -> None:
        """It is asked anew each time."""


class SimSite:
    """What of a site outlives its daemon, and how the daemon is started."""

    def __init__(self, world: World, site: SiteName) -> None:
        self.world = world
        self.site = site
        self.database = SimDatabase(world, site)
        self.disk = world.stores[site]
        self.store = self.disk.store
        self.clock = SimClock(world, world.chance.uniform(-1e5, 1e5))
        self.process = Process(str(site))
        #: What stands in the drop directory, and what was accepted.
        self.dropped: dict[str, bytes] = {}
        self.accepted: dict[str, bytes] = {}
        #: Not taken in, since other bytes stood at the name already.
        self.refused: dict[str, bytes] = {}
        self.starts = 0
        #: Its catalog was once put back from a backup.
        self.restored = False
        self.freeze_at = FREEZE_AT
        self.scrub_every = "1m"
        self.started_s = 0.0
        anchor = Anchor(mesh=MESH, site=world.names[0], key=key_of(world.names[0]).public)
        self.database.inline(put_anchor, anchor)

    def start(self) -> None:
        """A new daemon."""
        self.starts += 1
        self.started_s = self.world.loop.now_s
        self.process = Process(f"{self.site}#{self.starts}")
        self.world.loop.spawn(self._ended(), self.process)

    @property
    def running_since_s(self) -> float:
        """Since when it was neither dead nor frozen, if it is neither."""
        return max(self.started_s, self.process.frozen_until_s)

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
        store = self.store
        rng: Any = SimRng(world)
        incarnations = Incarnations(catalog, [store], rng, clock, site, witness_every_s=1.0)
        await incarnations.begin()
        bus: Any = SimBus(world, site)
        ports = Ports(
            site=site,
            key=key_of(site),
            catalog=catalog,
            bus=bus,
            stores=[store],
            clock=clock,
            rng=rng,
            incidents=CatalogIncidents(catalog),
            metrics=Metrics(site),
        )
        settings = settings_of(site, len(world.names), self.scrub_every)
        inbound = build_inbound(ports)
        mesh = build_mesh(ports, settings, inbound.projection.follow)
        journal = build_journal(ports, settings, inbound, mesh, incarnations)
        integrity = build_integrity(ports, settings)
        adapter: Any = VerifyingAdapter(StallingAdapter(SimAdapter(world, site), stall_s=30.0))
        paces = Paces(min_rate=0, over_s=1.0)
        eviction = build_eviction(ports, settings, inbound, integrity.custodian, SimEvidence())
        rooms = Rooms(catalog, site, SimHealth(ports.by_id))
        transfers = build_transfers(ports, settings, {"sim": adapter}, paces, Pauses(catalog, clock), rooms)
        ledger = CatalogLedger(catalog, ports.metrics, ports.incidents, rooms, transfers.failovers)

        store.names = NamesLock()  # that of the daemon before went with it
        await transfers.lander.recover(store)
        if world.evicts:
            await eviction.trash.recover(store)
        await self._recover_intake(ledger)
        await clean(store, catalog, services_run=False)
        if site == world.names[0]:
            await mesh.membership.found()
            await catalog.write(_admit, world.names[1:])
        offer = adapter.offer()
        declared = [Declared(id=store.id, label="main", role=store.role, ingestable=True)]

        async def redeclare() -> None:
            await catalog.write(declare, site, declared, SiteAnnounced(software="sim", adapters=[offer]))

        await redeclare()
        recovery = build_recovery(ports, mesh, incarnations, redeclare)
        await catalog.write(_subscribe, site, store.id)
        await mesh.membership.admit_to_bus()

        async def intake() -> None:
            while True:
                await self._take_in(ledger, rng)
                await clock.sleep(0.5)

        capabilities = (mesh, journal, recovery, transfers, integrity)
        made = services_of(capabilities)
        rules = Rules(world, catalog, clock, self.starts)
        services = {name: made[name] for name in _in_order(made)} | {"intake": intake, "rules": rules.run}
        if world.evicts:
            wishes = Wishes(world, catalog, clock, eviction.evictor, store.id, self.starts, self._drop_again)
            services |= {**eviction.services(), "wishes": wishes.run}
        async with asyncio.TaskGroup() as group:
            for name, service in services.items():
                group.create_task(supervise(name, service, ports.incidents, clock))

    def _drop_again(self, name: str) -> None:
        if name in self.accepted:
            self.dropped[name] = self.accepted[name]

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
                await self.store.staging.put([(item, data)])
                await commit.land(self.store, [landing], self._steps(ledger))
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

    def _steps(self, ledger: CatalogLedger) -> Steps:
        async def not_sealed(failed: Sequence[NotPlaced]) -> None:
            """It stays where it was dropped."""

        async def begin(sealed: Sequence[Landing]) -> Sequence[Landing]:
            return await ledger.begin(sealed) if sealed else ()

        async def accept(placed: Sequence[Landing]) -> None:
            if placed:
                await ledger.accept(placed)
            for landing in placed:
                self._was_accepted(landing)

        async def not_placed(failed: Sequence[NotPlaced]) -> None:
            for failure in failed:
                await ledger.abandon([failure.landing])
                name = str(failure.landing.name)
                if isinstance(failure.error, NameOccupied) and name in self.dropped:
                    self.refused[name] = self.dropped.pop(name)

        return Steps(not_sealed=not_sealed, begin=begin, accept=accept, not_placed=not_placed)

    async def _recover_intake(self, ledger: CatalogLedger) -> None:
        left = [landing for landing in await ledger.unfinished(self.store.id) if landing.transfer is None]
        await commit.recover(self.store, left, self._steps(ledger))

    def _was_accepted(self, landing: Landing) -> None:
        """The promise is made: from here on the bytes must not be lost."""
        name = str(landing.name)
        data = self.dropped.pop(name, self.accepted.get(name))
        if data is not None:
            self.accepted[name] = data
        if self.disk.holds(name) != data:
            self.world.violated(f"I1: {self.site} accepted {name}, which does not stand in its store")


def _admit(tx: Tx, sites: list[SiteName]) -> None:
    """Once; the first of them may admit others, and declare rules."""
    known = roster(tx.connection)
    tx.append(
        *(
            SiteAdmitted(
                site=name,
                key=key_of(name).public,
                access=Access.FULL,
                domain=str(name),
                grants=["**"],
                may_admit=name == sites[0],
            )
            for name in sites
            if name not in known
        )
    )


def _subscribe(tx: Tx, site: SiteName, store: str) -> None:
    """Once: everything, from anybody."""
    column = schema.subscription.c
    if tx.connection.execute(select(column.id).where(column.site == str(site))).first() is None:
        tx.append(SubscriptionDeclared(subscription="a" * 16, from_site=None, match="**", into=[store]))
