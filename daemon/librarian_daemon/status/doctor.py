"""The doctor: looks at everything that an installation needs, and says for each part what to do (``lbctl doctor``)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from librarian_daemon import doctor_host
from librarian_daemon.catalog import incidents, record, recovery
from librarian_daemon.catalog.roster import roster
from librarian_daemon.catalog.writer import Catalog
from librarian_daemon.doctor_host import check
from librarian_daemon.page.address import PageAddress
from librarian_daemon.ports import Bus, Clock, Store
from librarian_daemon.settings import IntakeSettings, SiteSettings
from librarian_protocol.api import DoctorCheck
from librarian_protocol.errors import LibrarianError

#: Below this share of free space a store or state directory is worth a word.
LOW_SHARE = 0.05


class Doctor:
    """Changes nothing; a small file is written and removed, to see how long the disk takes."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        bus: Bus,
        stores: Sequence[Store],
        settings: SiteSettings,
        addresses: Mapping[str, str],
        page: PageAddress,
        clock: Clock,
    ) -> None:
        self._catalog = catalog
        self._bus = bus
        self._stores = stores
        self._settings = settings
        self._state = Path(settings.state)
        self._addresses = addresses
        self._page = page
        self._clock = clock

    async def examine(self) -> list[DoctorCheck]:
        """All checks, in the order in which things depend on one another."""
        mounts, watches = await asyncio.to_thread(_read, doctor_host.MOUNTS, doctor_host.WATCHES)
        checks = [
            *self._keys(),
            self._space("state directory", str(self._state)),
            await asyncio.to_thread(doctor_host.sync_speed, self._state, self._clock),
            await self._catalog_check(),
            doctor_host.catalog_place(self._settings.catalog.url, mounts),
            *doctor_host.limits(watches),
            doctor_host.certificate(self._settings.tls.cert_file, self._clock.unix_s()),
        ]
        for store in self._stores:
            checks.append(await self._store(store))
        places = {one.label: one.path for one in self._settings.store}
        for intake in self._settings.intake:
            checks += [_drop(intake), doctor_host.drop_place(intake.path, places[intake.store], mounts)]
        checks += [*self._bus_checks(), *self._network(), *await self._mesh()]
        return [one for one in checks if one is not None]

    async def _mesh(self) -> list[DoctorCheck]:
        """Sites, links, recovery, incidents."""
        members = await self._catalog.read(roster)
        if not members:
            return [check("mesh", "warning", "this site is of no mesh yet", "`lbctl site join TOKEN`")]
        checks = [check("mesh", "ok", f"{len(members)} sites")]
        for site, link in sorted(self._bus.links().items()):
            if site in members and not link.up:
                since = f" since {link.since}" if link.since else ""
                hint = f"is {site} up? `lbctl doctor` there; it costs time, nothing is lost"
                checks.append(check(f"link to {site}", "warning", f"down{since}: {link.detail}", hint))
        if await self._catalog.read(recovery.state) is not None:
            waits = await self._catalog.read(recovery.waits_for, self._settings.site) or []
            hint = "it ends by itself; nothing is vouched for and nothing evicted meanwhile"
            checks.append(check("recovery", "warning", f"waiting: {'; '.join(waits) or 'for nothing'}", hint))
        found = await self._catalog.read(incidents.open_incidents, 100)
        if found:
            codes = ", ".join(sorted({one.code for one in found}))
            checks.append(check("incidents", "warning", f"{len(found)} open: {codes}", "`lbctl incident list`"))
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
        return check("catalog", "ok", f"answers; {position} segments in the record")

    async def _store(self, store: Store) -> DoctorCheck:
        name = f"store {store.label}"
        try:
            space = await store.space()
        except LibrarianError as exc:
            return check(name, "error", exc.message, exc.hint)
        share = space.free_bytes / max(space.total_bytes, 1)
        if share < LOW_SHARE:
            return check(name, "warning", f"{share:.1%} of {store.root} are free", "free space, or add a store")
        if space.total_inodes and space.free_inodes / space.total_inodes < LOW_SHARE:
            return check(name, "warning", f"few inodes are free in {store.root}", "the filesystem needs more inodes")
        return check(name, "ok", f"{store.root}: {share:.0%} free")

    def _space(self, name: str, path: str) -> DoctorCheck:
        state = os.statvfs(path)
        share = state.f_bavail / max(state.f_blocks, 1)
        if share < LOW_SHARE:
            return check(name, "warning", f"{share:.1%} of {path} are free", "the catalog and the bus stand here")
        return check(name, "ok", f"{path}: {share:.0%} free")

    def _bus_checks(self) -> list[DoctorCheck]:
        bus = self._bus.state()
        if not bus.connected:
            hint = "look at the server's log" if bus.url else "`lbctl site join TOKEN`: a site of the mesh gives one"
            return [check("bus", "error", bus.detail or "not connected", hint)]
        checks = [check("bus", "ok", f"nats-server {bus.server_version} at {bus.url}")]
        hint = "nats/README.md says what it must be set to"
        checks += [check("bus durability", "error", text, hint) for text in bus.unsafe]
        checks += [check("bus", "warning", text, "nats/README.md") for text in bus.notes]
        return checks

    def _network(self) -> list[DoctorCheck]:
        checks: list[DoctorCheck] = []
        for name, address in self._addresses.items():
            host = address.rpartition(":")[0].strip("[]")
            if host in {"0.0.0.0", "::"}:
                hint = "set `advertise` to the address by which other sites reach this one"
                checks.append(check(name, "error", f"{address} is advertised: nobody can reach that", hint))
            elif host in {"127.0.0.1", "::1", "localhost"}:
                hint = "fine for sites on this machine; others need `listen` and `advertise` set"
                checks.append(check(name, "warning", f"{address} can be reached from this machine only", hint))
            else:
                checks.append(check(name, "ok", f"{address} is advertised"))
        if self._page.problem:
            hint = "set page.listen to a free port; nothing else depends on the page"
            checks.append(check("status page", "warning", f"not served at {self._page.problem}", hint))
        elif self._page.url:
            checks.append(check("status page", "ok", self._page.url))
        return checks


def _read(*paths: Path) -> list[str]:
    return [path.read_text() if path.exists() else "" for path in paths]


def _drop(intake: IntakeSettings) -> DoctorCheck:
    name = f"drop directory {intake.path}"
    if not os.path.isdir(intake.path):
        return check(name, "error", "it does not exist", f"mkdir -p {intake.path}")
    if not os.access(intake.path, os.R_OK | os.W_OK | os.X_OK):
        return check(name, "error", "this user may not read and write it", "files are claimed by renaming them")
    return check(name, "ok", f"one {intake.unit} each, complete by {intake.complete}")
