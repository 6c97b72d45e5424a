"""Reading the configuration again (SIGHUP): settings that can change while the daemon runs are applied; the others are
named.

A wrong configuration changes nothing: the daemon keeps its present one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import zip_longest
from typing import cast

import msgspec
import structlog

from librarian_daemon.config.settings import IntakeSettings, SiteSettings
from librarian_daemon.ports.incidents import Incidents
from librarian_daemon.runtime.logs import LogLevel
from librarian_daemon.runtime.signals import Signal
from librarian_protocol.errors import ConfigInvalid
from librarian_protocol.names import SiteName

RESTART = "restart-needed"
FAILED = "reload-failed"
_FOREVER_S = 86400.0


class Reloader:
    """Service. ``wake`` is set to start a reload."""

    def __init__(
        self,
        *,
        settings: SiteSettings,
        load: Callable[[], SiteSettings],
        wake: Signal,
        log_level: LogLevel,
        incidents: Incidents,
        site: SiteName,
        notify: Callable[[SiteSettings], Awaitable[None]],
        intakes: Callable[[Sequence[IntakeSettings]], Awaitable[None]],
        told: Callable[[SiteSettings], None],
    ) -> None:
        """``notify`` and ``intakes`` apply new settings; ``told`` are the views that show the settings."""
        self._settings = settings
        self._load = load
        self._wake = wake
        self._log_level = log_level
        self._incidents = incidents
        self._site = site
        self._notify = notify
        self._intakes = intakes
        self._told = told
        self._log = structlog.get_logger("reload")

    async def run(self) -> None:
        """Until cancelled."""
        for code in (RESTART, FAILED):
            await self._incidents.resolve(code, self._site)
        while True:
            if await self._wake.wait(_FOREVER_S):
                await self.reload()

    async def reload(self) -> None:
        """Read it, and apply what can be applied. An error, or a change that needs a restart, is an incident."""
        try:
            wanted = await asyncio.to_thread(self._load)
            new = in_force(self._settings, wanted)
            if new.notify != self._settings.notify:
                await self._notify(new)
        except ConfigInvalid as exc:
            self._log.error("reload_failed", error=exc.message, hint=exc.hint)
            await self._incidents.open(
                FAILED, self._site, f"the configuration was not applied: {exc.message}", exc.hint or "lbd --check"
            )
            return
        await self._incidents.resolve(FAILED, self._site)
        if new.log.level != self._settings.log.level:
            self._log_level.level = new.log.level
        if new.intake != self._settings.intake:
            await self._intakes(new.intake)
        changed = changes(self._settings, new)
        self._settings = new
        self._told(new)
        waiting = changes(new, wanted)
        self._log.warning("reloaded", changed=changed, restart_needed=waiting)
        if waiting:
            await self._incidents.open(
                RESTART,
                self._site,
                f"changed in the configuration; a restart is needed: {', '.join(waiting)}",
                "systemctl restart lbd",
            )
        else:
            await self._incidents.resolve(RESTART, self._site)


def in_force(present: SiteSettings, wanted: SiteSettings) -> SiteSettings:
    """The present settings with what can change while the daemon runs.

    A drop directory of a store that is not open keeps its present settings, or is left out.
    """
    open_stores = {store.label for store in present.store}
    before = {drop.path: drop for drop in present.intake}
    intake: list[IntakeSettings] = []
    for drop in wanted.intake:
        if open_stores.issuperset(drop.stores):
            intake.append(drop)
        elif drop.path in before:
            intake.append(before[drop.path])
    return msgspec.structs.replace(
        present,
        log=msgspec.structs.replace(present.log, level=wanted.log.level),
        notify=wanted.notify,
        intake=intake,
    )


def changes(present: SiteSettings, wanted: SiteSettings) -> list[str]:
    """The keys in which they differ, as in the file: ``log.level``, ``store[0].path``."""
    return sorted(
        _differences(msgspec.to_builtins(present, enc_hook=str), msgspec.to_builtins(wanted, enc_hook=str), "")
    )


def _differences(present: object, wanted: object, path: str) -> list[str]:
    if present == wanted:
        return []
    lists = _are_tables(present) and _are_tables(wanted)
    if isinstance(present, dict) and isinstance(wanted, dict):
        here, there = cast("dict[str, object]", present), cast("dict[str, object]", wanted)
        return [
            found
            for key in dict.fromkeys([*here, *there])
            for found in _differences(here.get(key), there.get(key), f"{path}.{key}" if path else key)
        ]
    if lists:
        rows = zip_longest(cast("list[object]", present), cast("list[object]", wanted))
        return [found for at, (a, b) in enumerate(rows) for found in _differences(a, b, f"{path}[{at}]")]
    return [path]


def _are_tables(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in cast("list[object]", value))
