"""A site: builds its parts in the order in which they depend on one another (``assembly/``), starts and stops them.

Start: lock, catalog, stores, incarnation, what a crash left, services. Stop: the reverse; unfinished work is found
again in the catalog.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec
import structlog

from librarian_daemon.api.readers import Readers
from librarian_daemon.api.socket import ControlSocket
from librarian_daemon.assembly.api import build_control
from librarian_daemon.assembly.dataplane import DataAddress, DataPlane, build_dataplane, listen
from librarian_daemon.assembly.eviction import Eviction, build_eviction
from librarian_daemon.assembly.incidents import Watch, build_watch
from librarian_daemon.assembly.inquiries import Inquiries, build_inquiries
from librarian_daemon.assembly.intake import build_intakes
from librarian_daemon.assembly.integrity import Integrity, build_integrity
from librarian_daemon.assembly.journal import Journal, build_inbound, build_journal
from librarian_daemon.assembly.mesh import Mesh, build_attachments, build_declarations, build_mesh
from librarian_daemon.assembly.page import Page, build_page
from librarian_daemon.assembly.ports import Capability, Ports, Services, services_of
from librarian_daemon.assembly.recovery import build_recovery
from librarian_daemon.assembly.reloader import Reloader
from librarian_daemon.assembly.status import Status, build_doctor, build_status
from librarian_daemon.assembly.stores import configured_stores, open_stores, or_withhold
from librarian_daemon.assembly.transfers import Transfers, build_transfers
from librarian_daemon.bus.client import NatsBus
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.database import Database, open_database
from librarian_daemon.catalog.journal import quarantine
from librarian_daemon.catalog.mesh import own_key as noted
from librarian_daemon.catalog.stores import attached, promises
from librarian_daemon.catalog.upgrade import upgrade
from librarian_daemon.config.settings import SiteSettings
from librarian_daemon.eviction.evidence import EvidenceFiles
from librarian_daemon.incidents.channels import Channel, open_channels
from librarian_daemon.incidents.recorder import CatalogIncidents
from librarian_daemon.incidents.store_health import StoreHealth
from librarian_daemon.intake.intakes import Intakes
from librarian_daemon.integrity.reconciler import clean
from librarian_daemon.journal import own_key
from librarian_daemon.journal.incarnation import Incarnations
from librarian_daemon.landing.rooms import Rooms
from librarian_daemon.mesh import rekey
from librarian_daemon.mesh.declarations import Declarations
from librarian_daemon.ports.store import SiteStore
from librarian_daemon.runtime import certificates, machine
from librarian_daemon.runtime.certificates import Certificate
from librarian_daemon.runtime.clock import SystemClock, SystemRng
from librarian_daemon.runtime.logs import Log
from librarian_daemon.runtime.metrics import Metrics
from librarian_daemon.runtime.signals import Signal
from librarian_daemon.runtime.supervisor import supervise
from librarian_daemon.runtime.version import VERSION
from librarian_daemon.status.doctor import Doctor
from librarian_daemon.transfers.adapters import http_offer, offers
from librarian_daemon.transfers.pauses import Pauses
from librarian_protocol.entries import SiteAnnounced
from librarian_protocol.keys import SiteKey


class Site:
    """One site, from its settings. :meth:`run` runs it until it is cancelled."""

    def __init__(
        self, settings: SiteSettings, log: Log, load: Callable[[], SiteSettings], *, accept_key: str = ""
    ) -> None:
        """``load`` reads the settings again.

        ``accept_key``: the fingerprint of a site key that a person vouches for (docs/keys.md).
        """
        self._settings = settings
        self._load = load
        self._reload = Signal()
        self._accept_key = accept_key
        self._logging = log
        self._state = Path(settings.state)
        self._clock = SystemClock()
        self._rng = SystemRng()
        self._metrics = Metrics(settings.site)
        self._log = structlog.get_logger("site")

    def reload(self) -> None:
        """Read the configuration again as soon as the daemon runs."""
        self._reload.set()

    async def run(self) -> None:
        """Start, run, and stop when cancelled.

        Raises:
            AlreadyRunning: another daemon holds the lock.
            ConfigInvalid, CatalogFault, StoreNotMounted, BusUnsafe: why it cannot start.
        """
        machine.keep_private(self._settings)
        lock = machine.lock(self._state)
        try:
            database = open_database(machine.catalog_url(self._settings.catalog))
            try:
                await database.write(upgrade)
                await self._run(database)
            finally:
                await database.close()
        finally:
            os.close(lock)

    async def _run(self, database: Database) -> None:
        key = machine.load_key(self._state / "keys" / "site.key")
        catalog = Catalog(database, self._clock, key)
        async with asyncio.TaskGroup() as group:
            committer = group.create_task(catalog.run(), name="committer")
            try:
                await self._serve(catalog, key)
            finally:
                committer.cancel()

    async def _serve(self, catalog: Catalog, key: SiteKey) -> None:
        settings = self._settings
        channels = await open_channels(settings.notify)
        opened = await self._open(catalog, key)
        ports, certificate = opened.ports, opened.certificate
        pauses = Pauses(catalog, self._clock)
        await pauses.load()
        parts = self._build(ports, opened.incarnations, pauses, channels)
        await catalog.write(attached.begin, configured_stores(settings, ports.stores))
        await catalog.write(promises.begin)
        await parts.rooms.reload()
        await _finish(ports, parts)

        data = await listen(settings, parts.dataplane, parts.status.views, certificate)
        if settings.bus.mode != "join" and not await catalog.read(quarantine.state):
            # A site whose catalog was lost already belongs to a mesh: it must be told which.
            await parts.mesh.membership.found()
        announced = SiteAnnounced(
            software=VERSION,
            adapters=offers(parts.dataplane.adapters.values(), http_offer(settings, data.tls, data.advertise)),
            certificate=certificate.announced if settings.bus.leaf_listen or data.tls.pinned else None,
            leaf_address=opened.bus.leaf_address(),
        )
        declarations = build_declarations(ports, announced)
        await declarations.say()
        await self._run_until_cancelled(opened, parts, declarations, data)

    async def _open(self, catalog: Catalog, key: SiteKey) -> _Opened:
        """The site's own ports; a new incarnation has begun."""
        settings, site, clock, rng = self._settings, self._settings.site, self._clock, self._rng
        stores = await open_stores(settings, catalog, rng)
        keys = self._state / "keys"
        await own_key.check(catalog, stores, site, key, keys, self._accept_key)
        incarnations = Incarnations(catalog, stores, rng, clock, site)
        await incarnations.begin()
        key = await rekey.go_over(catalog, site, key, keys)
        await catalog.write(noted.note, key.public)
        certificate = certificates.load_or_make(keys, site, machine.certified_hosts(settings))
        bus = NatsBus(
            site=site,
            settings=settings.bus,
            directory=self._state / "nats",
            keys_directory=keys,
            clock=clock,
            rng=rng,
            certificate=certificate,
        )
        ports = Ports(
            site=site,
            key=key,
            catalog=catalog,
            bus=bus,
            stores=stores,
            clock=clock,
            rng=rng,
            incidents=CatalogIncidents(catalog),
            metrics=self._metrics,
        )
        return _Opened(ports=ports, bus=bus, incarnations=incarnations, certificate=certificate)

    def _build(
        self,
        ports: Ports,
        incarnations: Incarnations,
        pauses: Pauses,
        channels: Sequence[Channel],
    ) -> _Parts:
        settings = self._settings
        inbound = build_inbound(ports)
        mesh = build_mesh(ports, settings, inbound.projection.follow)
        journal = build_journal(ports, settings, inbound, mesh, incarnations)
        integrity = build_integrity(ports, settings)
        inquiries = build_inquiries(ports, inbound, mesh, integrity)
        dataplane = build_dataplane(ports, settings, inbound, mesh, integrity.custodian, pauses)
        eviction = build_eviction(
            ports, settings, inbound, integrity.custodian, EvidenceFiles(self._state / "evidence")
        )
        health = StoreHealth(ports.by_id, ports.incidents, ports.clock)
        rooms = Rooms(ports.catalog, ports.site, health)
        transfers = build_transfers(ports, settings, dataplane.adapters, dataplane.paces, pauses, rooms)
        intakes = build_intakes(ports, settings, pauses, rooms, transfers.failovers)

        async def take_up(store: SiteStore) -> None:
            await incarnations.hear(store)
            await transfers.lander.recover(store)
            await integrity.withdrawals.recover(store)
            await eviction.trash.recover(store)
            await clean(store, ports.catalog)

        watch = build_watch(ports, channels, take_up, health)
        status = build_status(ports, settings, mesh, transfers, intakes, watch)
        return _Parts(
            mesh=mesh,
            journal=journal,
            watch=watch,
            transfers=transfers,
            dataplane=dataplane,
            integrity=integrity,
            eviction=eviction,
            inquiries=inquiries,
            status=status,
            page=build_page(ports, settings, status),
            intakes=intakes,
            take_up=take_up,
            rooms=rooms,
        )

    async def _run_until_cancelled(
        self, opened: _Opened, parts: _Parts, declarations: Declarations, data: DataAddress
    ) -> None:
        settings, ports = self._settings, opened.ports
        recovery = build_recovery(ports, parts.mesh, parts.journal.incarnations, declarations.say)
        readers = Readers(settings.control)
        doctor = build_doctor(
            ports, settings, parts.status, parts.mesh, parts.transfers, parts.watch, data.advertise, readers.checks
        )

        def watch(store: SiteStore) -> None:
            parts.watch.health.add(store)
            parts.integrity.scrubber.watch(store)

        attachments = build_attachments(
            ports, settings, declarations, parts.take_up, watch, parts.transfers.stores_changed
        )
        parts.rooms.close_by(attachments.close_full)
        control = build_control(
            ports=ports,
            settings=settings,
            mesh=parts.mesh,
            journal=parts.journal,
            integrity=parts.integrity,
            eviction=parts.eviction,
            inquiries=parts.inquiries,
            transfers=parts.transfers,
            recovery=recovery,
            intakes=parts.intakes,
            watch=parts.watch,
            status=parts.status,
            attachments=attachments,
            doctor=doctor,
            log_level=self._logging.level,
            bus_config=opened.bus.server_configuration,
        )
        services: Services = {
            "bus": opened.bus.run,
            **services_of([*parts.capabilities(), recovery]),
            "declarations": declarations.run,
            "log": partial(self._logging.sparing.run, self._clock),
            "reload": self._reloader(ports, parts, doctor).run,
        }
        socket = ControlSocket(Path(settings.socket), control.application())
        await socket.open()
        await readers.open(control.reading(readers.guard))
        try:
            async with asyncio.TaskGroup() as group:
                await parts.mesh.membership.admit_to_bus()
                await parts.mesh.joiner.resume()
                for name, service in services.items():
                    group.create_task(supervise(name, service, ports.incidents, self._clock), name=name)
                parts.intakes.start(group)
                self._log.info("started", data=data.advertise, socket=settings.socket)
        finally:
            self._log.info("stopping")
            parts.status.manager.stopping()
            await readers.close()
            await socket.close()
            await data.server.stop()
            await parts.dataplane.close()
            for store in ports.stores:
                store.close()
            Path(settings.socket).unlink(missing_ok=True)

    def _reloader(self, ports: Ports, parts: _Parts, doctor: Doctor) -> Reloader:
        async def notify(new: SiteSettings) -> None:
            parts.watch.notifications.replace(await open_channels(new.notify))

        return Reloader(
            settings=self._settings,
            load=self._load,
            wake=self._reload,
            log_level=self._logging.level,
            incidents=ports.incidents,
            site=ports.site,
            notify=notify,
            intakes=parts.intakes.apply,
            told=doctor.use,
        )


class _Opened(msgspec.Struct, frozen=True, kw_only=True):
    """What everything is built on."""

    ports: Ports
    #: The same as the ports', which know less of it.
    bus: NatsBus
    incarnations: Incarnations
    certificate: Certificate


class _Parts(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a site, except those that need its address."""

    mesh: Mesh
    journal: Journal
    watch: Watch
    transfers: Transfers
    dataplane: DataPlane
    integrity: Integrity
    eviction: Eviction
    inquiries: Inquiries
    status: Status
    page: Page
    intakes: Intakes
    #: Finishes what a crash left in a store that is opened after the start.
    take_up: Callable[[SiteStore], Awaitable[None]]
    rooms: Rooms

    def capabilities(self) -> Sequence[Capability]:
        """The capabilities with services; intake starts its own."""
        return (
            self.mesh,
            self.journal,
            self.watch,
            self.transfers,
            self.dataplane,
            self.integrity,
            self.eviction,
            self.inquiries,
            self.status,
            self.page,
        )


async def _finish(ports: Ports, parts: _Parts) -> None:
    """Finish what a crash left, before any service runs."""
    for store in ports.stores:
        await or_withhold(store, parts.transfers.lander.recover(store))
        await or_withhold(store, parts.integrity.withdrawals.recover(store))
        await or_withhold(store, parts.eviction.trash.recover(store))
    await parts.intakes.recover()
    for store in ports.stores:
        await or_withhold(store, clean(store, ports.catalog, services_run=False))
