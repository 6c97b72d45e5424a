"""The services of the drop directories. Starts and stops them when the configuration changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from librarian_adapters import tasks
from librarian_daemon.config.settings import IntakeSettings
from librarian_daemon.intake.drop_incidents import end_of_others
from librarian_daemon.intake.service import Intake
from librarian_daemon.ports.incidents import Incidents
from librarian_daemon.ports.time import Clock
from librarian_daemon.runtime.supervisor import supervise


class Intakes:
    """All intake services. ``services`` stays the same list while the daemon runs, because views hold it."""

    def __init__(
        self,
        settings: Sequence[IntakeSettings],
        make: Callable[[IntakeSettings], Intake],
        incidents: Incidents,
        clock: Clock,
        stores: Sequence[str],
    ) -> None:
        """``stores`` are the paths of the site's stores."""
        self._make = make
        self._incidents = incidents
        self._clock = clock
        self._stores = stores
        self._settings = list(settings)
        self.services = [make(drop) for drop in settings]
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None

    async def recover(self) -> None:
        """Finish what a crash interrupted, before any service runs."""
        await end_of_others(self._incidents, [drop.path for drop in self._settings], self._stores)
        for service in self.services:
            await service.recover()

    def look_again(self) -> None:
        """A pause by an operator began or ended."""
        for service in self.services:
            service.look_again()

    def start(self, group: asyncio.TaskGroup) -> None:
        """Start all services."""
        self._group = group
        for settings, service in zip(self._settings, self.services, strict=True):
            self._begin(group, settings.path, service)

    def _begin(self, group: asyncio.TaskGroup, path: str, service: Intake) -> None:
        self._tasks[path] = group.create_task(
            supervise("intake", service.run, self._incidents, self._clock), name="intake"
        )

    async def apply(self, wanted: Sequence[IntakeSettings]) -> None:
        """Stop services that were removed or changed and start new ones; the others are not touched.

        What a stopped service had claimed stays claimed; the next service of that directory takes it.
        """
        assert self._group is not None
        running = list(zip(self._settings, self.services, strict=True))
        going_on = {drop.path: service for drop, service in running if drop in wanted}
        for drop, service in running:
            if drop.path not in going_on:
                task = self._tasks.pop(drop.path)
                await tasks.stop(task)
                await service.ended()
        services: list[Intake] = []
        for drop in wanted:
            service = going_on.get(drop.path) or self._make(drop)
            services.append(service)
            if drop.path not in going_on:
                service.goes_on_from_another()
                self._begin(self._group, drop.path, service)
        self._settings = list(wanted)
        self.services[:] = services
        await end_of_others(self._incidents, [drop.path for drop in wanted], self._stores)
