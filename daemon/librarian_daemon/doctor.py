"""The doctor: looks at everything that an installation needs, and says for each part what to do (``lbctl doctor``)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from librarian_daemon.catalog import journal
from librarian_daemon.catalog.writer import Catalog
from librarian_daemon.ports import Bus, Store
from librarian_daemon.settings import IntakeSettings
from librarian_protocol.api import DoctorCheck
from librarian_protocol.errors import LibrarianError

#: Below this share of free space a store or state directory is worth a word.
LOW_SHARE = 0.05


class Doctor:
    """Read-only."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        bus: Bus,
        stores: Sequence[Store],
        intakes: Sequence[IntakeSettings],
        state: Path,
        addresses: Mapping[str, str],
    ) -> None:
        self._catalog = catalog
        self._bus = bus
        self._stores = stores
        self._intakes = intakes
        self._state = state
        self._addresses = addresses

    async def examine(self) -> list[DoctorCheck]:
        """All checks, in the order in which things depend on one another."""
        checks = [*self._keys(), self._space("state directory", str(self._state)), await self._catalog_check()]
        for store in self._stores:
            checks.append(await self._store(store))
        for intake in self._intakes:
            checks.append(_drop(intake))
        checks += [*self._bus_checks(), *self._network()]
        return checks

    def _keys(self) -> list[DoctorCheck]:
        checks: list[DoctorCheck] = []
        for path in sorted((self._state / "keys").glob("*")):
            mode = path.stat().st_mode & 0o777
            if mode & 0o077:
                hint = f"chmod 600 {path}"
                checks.append(_check(f"key {path.name}", "error", f"others may read it (mode {mode:04o})", hint))
        return checks or [_check("keys", "ok", "only this user may read them")]

    async def _catalog_check(self) -> DoctorCheck:
        try:
            position = await self._catalog.read(journal.last_position)
        except LibrarianError as exc:
            return _check("catalog", "error", exc.message, exc.hint)
        return _check("catalog", "ok", f"answers; {position} segments in the record")

    async def _store(self, store: Store) -> DoctorCheck:
        name = f"store {store.label}"
        try:
            space = await store.space()
        except LibrarianError as exc:
            return _check(name, "error", exc.message, exc.hint)
        share = space.free_bytes / max(space.total_bytes, 1)
        if share < LOW_SHARE:
            return _check(name, "warning", f"{share:.1%} of {store.root} are free", "free space, or add a store")
        if space.total_inodes and space.free_inodes / space.total_inodes < LOW_SHARE:
            return _check(name, "warning", f"few inodes are free in {store.root}", "the filesystem needs more inodes")
        return _check(name, "ok", f"{store.root}: {share:.0%} free")

    def _space(self, name: str, path: str) -> DoctorCheck:
        state = os.statvfs(path)
        share = state.f_bavail / max(state.f_blocks, 1)
        if share < LOW_SHARE:
            return _check(name, "warning", f"{share:.1%} of {path} are free", "the catalog and the bus stand here")
        return _check(name, "ok", f"{path}: {share:.0%} free")

    def _bus_checks(self) -> list[DoctorCheck]:
        bus = self._bus.state()
        if not bus.connected:
            hint = "look at the server's log" if bus.url else "`lbctl site join TOKEN`: a site of the mesh gives one"
            return [_check("bus", "error", bus.detail or "not connected", hint)]
        checks = [_check("bus", "ok", f"nats-server {bus.server_version} at {bus.url}")]
        hint = "nats/README.md says what it must be set to"
        checks += [_check("bus durability", "error", text, hint) for text in bus.unsafe]
        checks += [_check("bus", "warning", text, "nats/README.md") for text in bus.notes]
        return checks

    def _network(self) -> list[DoctorCheck]:
        checks: list[DoctorCheck] = []
        for name, address in self._addresses.items():
            host = address.rpartition(":")[0].strip("[]")
            if host in {"0.0.0.0", "::"}:
                hint = "set `advertise` to the address by which other sites reach this one"
                checks.append(_check(name, "error", f"{address} is advertised: nobody can reach that", hint))
            elif host in {"127.0.0.1", "::1", "localhost"}:
                hint = "fine for sites on this machine; others need `listen` and `advertise` set"
                checks.append(_check(name, "warning", f"{address} can be reached from this machine only", hint))
            else:
                checks.append(_check(name, "ok", f"{address} is advertised"))
        return checks


def _drop(intake: IntakeSettings) -> DoctorCheck:
    name = f"drop directory {intake.path}"
    if not os.path.isdir(intake.path):
        return _check(name, "error", "it does not exist", f"mkdir -p {intake.path}")
    if not os.access(intake.path, os.R_OK | os.W_OK | os.X_OK):
        return _check(name, "error", "this user may not read and write it", "files are claimed by renaming them")
    return _check(name, "ok", f"one {intake.unit} each, complete by {intake.complete}")


def _check(check: str, level: str, message: str, hint: str = "") -> DoctorCheck:
    return DoctorCheck(check=check, level=level, message=message, hint=hint)
