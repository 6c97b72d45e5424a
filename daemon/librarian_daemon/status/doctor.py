"""The doctor: checks everything that an installation needs, and says for each part what to do (``lbctl doctor``)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.incidents import incidents
from librarian_daemon.catalog.journal import quarantine, record
from librarian_daemon.catalog.mesh.roster import roster
from librarian_daemon.catalog.mesh.unknown_rules import CODE, HINT, unknown_kinds
from librarian_daemon.config.groups import group_id
from librarian_daemon.config.settings import SiteSettings
from librarian_daemon.incidents.store_health import StoreHealth
from librarian_daemon.journal.heads import HELD_BACK
from librarian_daemon.mesh.presences import Presences
from librarian_daemon.ports.bus import BusHealth
from librarian_daemon.ports.store import Store
from librarian_daemon.ports.store_capabilities import LocalDirectory
from librarian_daemon.ports.time import Clock
from librarian_daemon.status import doctor_machine
from librarian_daemon.status.doctor_machine import check
from librarian_daemon.status.page_address import PageAddress
from librarian_daemon.status.sections import FAULTS, said
from librarian_daemon.transfers.pauses import Pauses
from librarian_protocol.api import DoctorCheck
from librarian_protocol.errors import ConfigInvalid, LibrarianError
from librarian_protocol.host_port import WILDCARDS, parse
from librarian_protocol.loopback import is_loopback
from librarian_protocol.pausing import describe
from librarian_protocol.presence import Presence

#: Below this share of free space there is a warning about a store or state directory.
LOW_SHARE = 0.05


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """The addresses of this site."""

    #: As it is announced to other sites.
    data: str
    page: PageAddress
    metrics: PageAddress


class Doctor:
    """Changes nothing; a small file is written and removed, to see how long the disk takes."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        bus: BusHealth,
        presences: Presences,
        stores: Sequence[Store],
        health: StoreHealth,
        settings: SiteSettings,
        served: Served,
        pauses: Pauses,
        readers: Callable[[], Sequence[DoctorCheck]],
        clock: Clock,
    ) -> None:
        self._catalog = catalog
        self._bus = bus
        self._presences = presences
        self._stores = stores
        self._health = health
        self._settings = settings
        self._state = Path(settings.state)
        self._served = served
        self._pauses = pauses
        self._readers = readers
        self._clock = clock

    def use(self, settings: SiteSettings) -> None:
        """Use these settings from now on."""
        self._settings = settings

    async def examine(self) -> list[DoctorCheck]:
        """All checks, in the order in which things depend on one another."""
        mounts, watches = await asyncio.to_thread(_read, doctor_machine.MOUNTS, doctor_machine.WATCHES)
        checks = [
            *self._keys(),
            *doctor_machine.private_files(self._state, self._settings.catalog.url),
            self._space("state directory", str(self._state)),
            await asyncio.to_thread(doctor_machine.sync_speed, self._state, self._clock),
            await self._catalog_check(),
            doctor_machine.catalog_place(self._settings.catalog.url, mounts),
            *doctor_machine.limits(watches),
            doctor_machine.certificate(self._settings.tls.cert_file, self._clock.unix_s()),
        ]
        for store in list(self._stores):
            checks += await self._store(store)
        places = {configured.label: configured.path for configured in self._settings.store}
        for intake in self._settings.intake:
            root = places[intake.store]
            checks.append(await asyncio.to_thread(doctor_machine.drop_directory, intake, root, mounts))
        checks += await asyncio.to_thread(self._readers)
        for pause in self._pauses.in_force():
            hint = f"it ends by itself; before that: `lbctl resume {pause.what}`"
            checks.append(check(f"maintenance of {pause.what}", "warning", describe(pause), hint))
        checks += [*self._bus_checks(), *self._network()]
        for name, looking in (("mesh", self._mesh), ("recovery", self._recovery), ("incidents", self._incidents)):
            try:
                checks += await looking()
            except FAULTS as exc:
                hint = "the other checks are not about this; see the daemon's log"
                checks.append(check(name, "error", f"cannot be looked at: {said(exc)}", hint))
        return [found for found in checks if found is not None]

    async def _mesh(self) -> list[DoctorCheck]:
        """Sites and links."""
        members = await self._catalog.read(roster)
        if not members:
            return [check("mesh", "warning", "this site is of no mesh yet", "`lbctl site join TOKEN`")]
        checks = [check("mesh", "ok", f"{len(members)} sites")]
        for site, sight in sorted((await self._presences.sights()).items()):
            if sight.presence in {Presence.DOWN, Presence.SILENT}:
                since = f" since {sight.since}" if sight.since else ""
                hint = f"is {site} up? `lbctl doctor` there; it costs time, nothing is lost"
                checks.append(check(f"link to {site}", "warning", f"down{since}: {sight.detail}", hint))
        for unknown in await self._catalog.read(unknown_kinds):
            checks.append(check(f"rules of {unknown.site}", "warning", f"{CODE}: {unknown.message}", HINT))
        return checks

    async def _recovery(self) -> list[DoctorCheck]:
        if await self._catalog.read(quarantine.state) is None:
            return []
        away = await self._presences.away()
        waits = await self._catalog.read(quarantine.waits_for, self._settings.site, away) or []
        hint = "it ends by itself; meanwhile nothing is vouched for and nothing is evicted"
        return [check("recovery", "warning", f"waiting: {'; '.join(waits) or 'for nothing'}", hint)]

    async def _incidents(self) -> list[DoctorCheck]:
        checks = [
            check(f"own journal at {incident.subject}", "error", incident.message, incident.hint)
            for incident in await self._catalog.read(incidents.open_incidents, 1000)
            if incident.code == HELD_BACK
        ]
        found = await self._catalog.read(incidents.count_open)
        if found:
            codes = ", ".join(sorted({code for code, _ in found}))
            number = sum(found.values())
            checks.append(check("incidents", "warning", f"{number:,} open: {codes}", "`lbctl incident list`"))
        return checks

    def _keys(self) -> list[DoctorCheck]:
        checks: list[DoctorCheck] = []
        for path in sorted((self._state / "keys").glob("*")):
            mode = path.stat().st_mode & 0o777
            if mode & 0o077:
                hint = f"chmod 600 {path}"
                checks.append(check(f"key {path.name}", "error", f"others may read it (mode {mode:04o})", hint))
        return checks or [check("keys", "ok", "only this user may read them")]

    async def _catalog_check(self) -> DoctorCheck:
        try:
            position = await self._catalog.read(record.last_position)
        except LibrarianError as exc:
            return check("catalog", "error", exc.message, exc.hint)
        if self._catalog.trouble:
            return check("catalog", "error", self._catalog.trouble, "who else has it open? `fuser -v catalog.sqlite*`")
        return check("catalog", "ok", f"answers; {position} segments in the record")

    async def _store(self, store: Store) -> list[DoctorCheck | None]:
        name = f"store {store.label}"
        seen = await self._health.look(store.id)
        space = seen.space
        if seen.code or space is None:
            return [check(name, "error", seen.message, seen.hint)]
        tried = await self._tried(store)
        share = space.free_bytes / max(space.total_bytes, 1)
        if share < LOW_SHARE:
            return [
                check(name, "warning", f"{share:.1%} of {store.location} are free", "free space, or add a store"),
                *tried,
            ]
        if space.total_inodes and space.free_inodes / space.total_inodes < LOW_SHARE:
            hint = "the filesystem needs free inodes"
            return [check(name, "warning", f"few inodes are free in {store.location}", hint), *tried]
        return [check(name, "ok", f"{store.location}: {share:.0%} free"), *tried]

    async def _tried(self, store: Store) -> list[DoctorCheck]:
        """What is tried in a store's directory, if it has one."""
        if store.can.directory is None:
            return []
        return [await self._directories(store, store.can.directory), await store.can.directory.try_durability()]

    async def _directories(self, store: Store, directory: LocalDirectory) -> DoctorCheck:
        for configured in self._settings.store:
            if configured.label == store.label:
                try:
                    if configured.group:
                        group_id(configured.group)
                except ConfigInvalid as exc:
                    return check(f"directories of store {configured.label}", "error", exc.message, exc.hint)
        return await directory.try_directory()

    def _space(self, name: str, path: str) -> DoctorCheck:
        state = os.statvfs(path)
        share = state.f_bavail / max(state.f_blocks, 1)
        if share < LOW_SHARE:
            return check(name, "warning", f"{share:.1%} of {path} are free", "the catalog and the bus are here")
        return check(name, "ok", f"{path}: {share:.0%} free")

    def _bus_checks(self) -> list[DoctorCheck]:
        bus = self._bus.state()
        if not bus.connected:
            return [check("bus", "error", bus.detail or "not connected", _bus_hint(self._settings.bus.mode, bus.url))]
        checks = [check("bus", "ok", f"nats-server {bus.server_version} at {bus.url}")]
        hint = "nats/README.md says what it must be set to"
        if self._settings.bus.mode == "embedded":
            checks += doctor_machine.bus_listener(self._settings.bus.listen)
        checks += [check("bus durability", "error", text, hint) for text in bus.unsafe]
        checks += [check("bus", "warning", text, "nats/README.md") for text in bus.notes]
        return checks

    def _network(self) -> list[DoctorCheck]:
        checks: list[DoctorCheck] = []
        address, name = self._served.data, "data address"
        host = parse(address)[0]
        if host in WILDCARDS:
            hint = "set `advertise` to the address by which other sites reach this one"
            checks.append(check(name, "error", f"{address} is advertised: nobody can reach that", hint))
        elif host in {"127.0.0.1", "::1", "localhost"}:
            hint = "fine for sites on this machine; others need `listen` and `advertise` set"
            checks.append(check(name, "warning", f"{address} can be reached from this machine only", hint))
        else:
            checks.append(check(name, "ok", f"{address} is advertised"))
        page, metrics = self._served.page, self._served.metrics
        if page.problem:
            hint = "set page.listen to a free port; nothing else depends on the page"
            checks.append(check("status page", "warning", f"not served at {page.problem}", hint))
        elif page.url:
            checks.append(check("status page", "ok", page.url))
        if metrics.problem:
            hint = "set metrics.listen to a free port; nothing else depends on it"
            checks.append(check("metrics", "warning", f"not served at {metrics.problem}", hint))
        elif metrics.url:
            near = is_loopback(parse(self._settings.metrics.listen)[0])
            hint = "fine where only Prometheus reaches it; else set metrics.listen to a loopback address"
            message = metrics.url if near else f"{metrics.url}: whoever reaches it may read it"
            checks.append(check("metrics", "ok" if near else "warning", message, hint))
        return checks


def _bus_hint(mode: str, url: str) -> str:
    """What to do about a bus that does not answer: it depends on who runs it."""
    if mode == "embedded":
        return "look at nats-server.log in the state directory, and whether bus.listen is free"
    if mode == "external":
        return "is bus.url right? Look at the server, and at the network"
    if not url:
        return "`lbctl site join TOKEN`: a site of the mesh gives one"
    return (
        f"is the server there, and still at {url}? That address came with the token. Where it has moved: `lbctl site"
        " invite` at the site that runs it, then `lbctl site join TOKEN` here; nothing is lost by that"
    )


def _read(*paths: Path) -> list[str]:
    return [path.read_text() if path.exists() else "" for path in paths]
