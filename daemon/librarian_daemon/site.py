"""The composition root: makes every part of a site, in the order in which they depend on one another, and runs them.

Nothing else constructs a service. Start: lock, catalog, stores, incarnation, what a crash left, services. Stop: the
reverse; whatever was in flight is found again from the catalog.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import structlog
from aiohttp import web

from librarian_adapters import http
from librarian_adapters.pushes import PUSH_ME, PUSH_REFUSED
from librarian_daemon import certificates, host, rekeying
from librarian_daemon.bus.client import NatsBus
from librarian_daemon.bus_watch import BusWatch
from librarian_daemon.catalog import mail, recovery
from librarian_daemon.catalog.database import Database, open_database
from librarian_daemon.catalog.declaring import Declared, declare
from librarian_daemon.catalog.upgrade import upgrade
from librarian_daemon.catalog.writer import Catalog
from librarian_daemon.census import Census
from librarian_daemon.channels import open_channels
from librarian_daemon.clock import SystemClock, SystemRng
from librarian_daemon.control import Control
from librarian_daemon.custodian import Custodian
from librarian_daemon.datagate import Gate
from librarian_daemon.dataplane import DataPlane
from librarian_daemon.doctor import Doctor
from librarian_daemon.eventfeed import EventFeed
from librarian_daemon.exchange import http_offer, load_adapters, offers, signer, with_health
from librarian_daemon.explain_control import ExplainControl
from librarian_daemon.fetching import Moved
from librarian_daemon.giving import Giver
from librarian_daemon.heads import Heads
from librarian_daemon.held import CatalogHoldings
from librarian_daemon.incarnations import Incarnations
from librarian_daemon.intake.service import Intake
from librarian_daemon.inviting import Inviter
from librarian_daemon.joining import Joiner
from librarian_daemon.journal_control import JournalControl
from librarian_daemon.lander import Lander
from librarian_daemon.ledger import CatalogLedger
from librarian_daemon.log_control import LogControl
from librarian_daemon.logs import LogLevel
from librarian_daemon.membership import Membership
from librarian_daemon.metrics import Metrics
from librarian_daemon.naming import NameKeeper
from librarian_daemon.notices import CatalogIncidents
from librarian_daemon.notifications import Notifications
from librarian_daemon.notify_control import NotifyControl
from librarian_daemon.page.address import PageAddress
from librarian_daemon.page.serving import StatusPage
from librarian_daemon.page.throughput import Throughput
from librarian_daemon.planner import Planner
from librarian_daemon.projection import Projection
from librarian_daemon.publisher import Publisher
from librarian_daemon.pusher import Pusher
from librarian_daemon.pushing import PushReceiver, Tickets
from librarian_daemon.reconcile_control import ReconcileControl
from librarian_daemon.reconciling import Reconciler, clean
from librarian_daemon.recovery import Recoverer
from librarian_daemon.repairing import Answering, Repairer
from librarian_daemon.replicator import Replicator
from librarian_daemon.restating import Restater
from librarian_daemon.scraping import Scraper
from librarian_daemon.server import TcpServer, application
from librarian_daemon.settings import SiteSettings
from librarian_daemon.signals import Signal
from librarian_daemon.site_control import SiteControl
from librarian_daemon.stores import open_stores
from librarian_daemon.supervising import supervise
from librarian_daemon.systemd import ServiceManager
from librarian_daemon.taking import Taking
from librarian_daemon.telling import Teller
from librarian_daemon.tls import data_tls
from librarian_daemon.version import VERSION
from librarian_daemon.views import Views
from librarian_protocol.entries import InstanceDoubted, NameResolved, SiteAnnounced
from librarian_protocol.errors import ConfigInvalid
from librarian_protocol.keys import SiteKey
from librarian_protocol.names import SiteName
from librarian_protocol.offering import TELL, TELL_AGAIN

#: The most a request's body may have: a bundle's list.
MAX_BODY_BYTES = 4 << 20


class Site:
    """One site, from its settings. :meth:`run` runs it until it is cancelled."""

    def __init__(self, settings: SiteSettings, log_level: LogLevel) -> None:
        self._settings = settings
        self._log_level = log_level
        self._state = Path(settings.state)
        self._clock = SystemClock()
        self._rng = SystemRng()
        self._metrics = Metrics(settings.site)
        self._log = structlog.get_logger("site")

    async def run(self) -> None:
        """Start, run, and stop when cancelled.

        Raises:
            AlreadyRunning: another daemon holds the lock.
            ConfigInvalid, CatalogFault, StoreNotMounted, BusUnsafe: what keeps it from starting.
        """
        lock = host.lock(self._state)
        try:
            database = open_database(host.catalog_url(self._settings.catalog))
            try:
                await database.write(upgrade)
                await self._run(database)
            finally:
                await database.close()
        finally:
            os.close(lock)

    async def _run(self, database: Database) -> None:
        key = host.load_key(self._state / "keys" / "site.key")
        catalog = Catalog(database, self._clock, key)
        async with asyncio.TaskGroup() as group:
            committer = group.create_task(catalog.run(), name="committer")
            try:
                await self._serve(catalog, key)
            finally:
                committer.cancel()

    async def _serve(self, catalog: Catalog, key: SiteKey) -> None:
        settings, site, clock, rng = self._settings, self._settings.site, self._clock, self._rng
        channels = await open_channels(settings.notify)
        stores = await open_stores(settings, catalog, rng)
        by_id = {store.id: store for store in stores}
        incarnations = Incarnations(catalog, stores, rng, clock, site)
        await incarnations.begin()
        key = await rekeying.go_over(catalog, site, key, self._state / "keys")

        incidents = CatalogIncidents(catalog)
        certificate = certificates.load_or_make(self._state / "keys", site, host.certified_hosts(settings))
        bus = NatsBus(
            site=site,
            settings=settings.bus,
            directory=self._state / "nats",
            keys_directory=self._state / "keys",
            clock=clock,
            rng=rng,
            certificate=certificate,
        )

        async def send(to: SiteName, verb: str, body: bytes) -> None:
            await catalog.write(mail.send, rng.hex(32), to, verb, body)

        tickets = Tickets(send, clock, rng)
        teller = Teller(catalog, incidents, site, lambda: rng.hex(32))
        letters = {PUSH_REFUSED: tickets.refused, TELL: teller.tell, TELL_AGAIN: teller.tell_again}
        lacking = Signal()
        taking = Taking(catalog, incidents, self._metrics, site)
        projection = Projection(catalog, bus, clock, site, taking, gap=lacking, mail_handlers=letters)
        membership = Membership(
            catalog=catalog,
            bus=bus,
            clock=clock,
            rng=rng,
            site=site,
            domain=settings.domain,
            administrator=settings.mesh.administrator or None,
            key=key,
            follow=projection.follow,
        )
        inviter = Inviter(
            catalog=catalog,
            bus=bus,
            incidents=incidents,
            clock=clock,
            rng=rng,
            site=site,
            key=key,
            membership=membership,
        )
        joiner = Joiner(
            catalog=catalog,
            bus=bus,
            incidents=incidents,
            clock=clock,
            site=site,
            key=key,
            state=self._state,
            membership=membership,
            own_server=settings.bus.mode == "embedded",
        )
        heads = Heads(
            catalog=catalog,
            bus=bus,
            incidents=incidents,
            clock=clock,
            site=site,
            key=key,
            membership=membership,
            metrics=self._metrics,
            every_s=settings.bus.heads_every_s,
            heard=lacking,
        )
        repairer = Repairer(catalog, bus, clock, site, taking, heard=lacking, every_s=settings.bus.heads_every_s)
        answering = Answering(catalog)

        async def answer() -> None:
            await bus.answer(answering)

        custodian = Custodian(catalog, by_id, incidents, clock, site, self._metrics, settings.reconcile.limit)
        catalog.watch(custodian.wake, InstanceDoubted)

        sign = signer(site, key, clock)
        held = CatalogHoldings(catalog, membership, site, by_id)
        giver = Giver(site, held, custodian)
        client = http.client(
            sign, settings.adapters.settings.get("http", {}), membership.certificate, settings.tls.ca_file
        )
        pusher = Pusher(client=client, giver=giver, holdings=held, offers=membership.offers, send=send, clock=clock)
        letters[PUSH_ME] = pusher.push_me
        adapters = load_adapters(settings, sign, by_id, membership.certificate, tickets, self._state / "adapters")
        moved = Moved(catalog, clock)
        lander = Lander(catalog, clock, self._metrics)
        transfers_changed = Signal()
        planner = Planner(catalog, clock, site, list(adapters), transfers_changed)
        replicator = Replicator(
            catalog=catalog,
            stores=by_id,
            adapters=adapters,
            lander=lander,
            moved=moved,
            clock=clock,
            rng=rng,
            site=site,
            settings=settings.replicator,
            limits=settings.adapters.limits,
            metrics=self._metrics,
            wake=transfers_changed,
        )
        publisher = Publisher(catalog, bus, incidents, clock, site, key, self._metrics, membership.changed)
        ledger = CatalogLedger(catalog, self._metrics)
        by_label = {store.label: store for store in stores}
        intakes = [
            Intake(one, by_label[one.store], ledger, incidents, clock, rng, structlog.get_logger("intake"))
            for one in settings.intake
        ]
        census = Census(catalog, clock, site)
        page_address = PageAddress()
        views = Views(
            site=site,
            key=key.public,
            bus_mode=settings.bus.mode,
            started_at=clock.utc(),
            catalog=catalog,
            bus=bus,
            stores=by_id,
            intakes=intakes,
            membership=membership,
            moved=moved,
            incidents=incidents,
            census=census,
            page=page_address,
            clock=clock,
        )
        page = StatusPage(
            listen=settings.page.listen,
            address=page_address,
            catalog=catalog,
            views=views,
            throughput=Throughput(self._metrics.totals, clock),
            clock=clock,
        )
        scraper = Scraper(
            catalog=catalog,
            bus=bus,
            stores=by_id,
            intakes=intakes,
            views=views,
            census=census,
            metrics=self._metrics,
            state=self._state,
        )

        for store in stores:
            await lander.recover(store)
        for intake in intakes:
            await intake.recover()
        for store in stores:
            await clean(store, catalog, services_run=False)

        gate = Gate(site=site, clock=clock, holdings=held)
        routes = [*DataPlane(gate, giver).routes(), *PushReceiver(gate, tickets).routes()]
        data = TcpServer(with_health(application(MAX_BODY_BYTES), routes, views, scraper))
        address, port = host.split_address(settings.data.listen)
        tls = data_tls(settings, certificate, settings.data.advertise or settings.data.listen)
        try:
            port = await data.start(address, port, tls.context)
        except OSError as exc:
            raise ConfigInvalid(f"data.listen = {settings.data.listen!r}: {exc}", hint="is the port taken?") from exc
        advertise = settings.data.advertise or host.join_address(address, port)
        if settings.bus.mode != "join" and not await catalog.read(recovery.state):
            # A site whose catalog was lost is of a mesh already: it must be told again of which.
            await membership.found()
        declared = [
            Declared(id=store.id, label=store.label, role=store.role, ingestable=one.ingestable)
            for store, one in zip(stores, settings.store, strict=True)
        ]
        announced = SiteAnnounced(
            software=VERSION,
            adapters=offers(adapters.values(), http_offer(settings, tls, advertise)),
            certificate=certificate.announced if settings.bus.leaf_listen or tls.pinned else None,
            leaf_address=bus.leaf_address(),
        )

        async def redeclare() -> None:
            await catalog.write(declare, site, declared, announced)

        await redeclare()
        recoverer = Recoverer(
            catalog=catalog,
            incidents=incidents,
            clock=clock,
            site=site,
            found=membership.found,
            restater=Restater(catalog, stores, site),
            renew=incarnations.renew,
            redeclare=redeclare,
        )

        reconciler = Reconciler(
            catalog=catalog,
            stores=stores,
            custodian=custodian,
            incidents=incidents,
            clock=clock,
            site=site,
            settings=settings.reconcile,
            metrics=self._metrics,
        )
        keeper = NameKeeper(catalog, by_id, incidents, site)
        catalog.watch(keeper.wake, NameResolved)
        notifications = Notifications(
            channels=channels,
            catalog=catalog,
            incidents=incidents,
            metrics=self._metrics,
            clock=clock,
            site=site,
        )
        manager = ServiceManager(clock, views.readiness)
        control = Control(
            site=site,
            catalog=catalog,
            stores=stores,
            ingestable=[store for store, one in zip(stores, settings.store, strict=True) if one.ingestable],
            views=views,
            feed=EventFeed(site=site, own_key=key.public, catalog=catalog, views=views),
            membership=membership,
            sites=SiteControl(
                catalog=catalog,
                membership=membership,
                inviter=inviter,
                joiner=joiner,
                roster=views.sites,
                bus_config=bus.server_configuration,
            ),
            journals=JournalControl(catalog, taking, clock, site, key),
            notifications=NotifyControl(notifications),
            reconciling=ReconcileControl(reconciler, recoverer),
            log=LogControl(self._log_level),
            explaining=ExplainControl(catalog=catalog, bus=bus, site=site, adapters=list(adapters), detail=views.name),
            adapters=list(adapters),
            custodian=custodian,
            doctor=Doctor(
                catalog=catalog,
                bus=bus,
                stores=stores,
                settings=settings,
                addresses={"data address": advertise},
                page=page_address,
                clock=clock,
            ),
            clock=clock,
            rng=rng,
            wake_replicator=transfers_changed,
        )
        runner = web.AppRunner(control.application(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        await host.listen(runner, Path(settings.socket))
        try:
            async with asyncio.TaskGroup() as group:
                await membership.admit_to_bus()
                await joiner.resume()
                for name, service in {
                    "bus": bus.run,
                    "roster": membership.run,
                    "inviter": inviter.run,
                    "joiner": joiner.run,
                    "projection": projection.run,
                    "heads": heads.run_announcing,
                    "listener": heads.run_listening,
                    "repairer": repairer.run,
                    "answering": answer,
                    "recovery": recoverer.run,
                    "reconciler": reconciler.run,
                    "witness": incarnations.run,
                    "publisher": publisher.run,
                    "planner": planner.run,
                    "replicator": replicator.run,
                    "pusher": pusher.run,
                    "teller": teller.run,
                    "custodian": custodian.run,
                    "names": keeper.run,
                    "census": census.run,
                    "bus watch": BusWatch(bus, incidents, clock, site).run,
                    "service manager": manager.run,
                    "page": page.run,
                    "notifications": notifications.run,
                }.items():
                    group.create_task(supervise(name, service, incidents, clock), name=name)
                for intake in intakes:
                    group.create_task(supervise("intake", intake.run, incidents, clock), name="intake")
                self._log.info("started", data=advertise, socket=settings.socket)
        finally:
            self._log.info("stopping")
            manager.stopping()
            await runner.cleanup()
            await data.stop()
            for adapter in adapters.values():
                await adapter.close()
            await client.close()
            for store in stores:
                store.close()
            Path(settings.socket).unlink(missing_ok=True)
