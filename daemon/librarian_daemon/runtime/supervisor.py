"""Keeps services running through passing errors: a catalog or store that fails for a while does not end the daemon."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

import structlog

from librarian_daemon.ports.incidents import Incidents
from librarian_daemon.ports.time import Clock
from librarian_protocol import backoff
from librarian_protocol.errors import CatalogFault, StoreError

#: A service that ran for this time before it failed counts as recovered from earlier failures.
RECOVERED_S = 300.0
LONGEST_S = 30.0


async def supervise(name: str, service: Callable[[], Awaitable[None]], incidents: Incidents, clock: Clock) -> None:
    """Run a service; restart it, with growing delays, if the catalog or a store fails.

    Any other error is a defect or cannot be repaired while running: it ends the daemon visibly, and unfinished work is
    found again at the next start.
    """
    failures = 0
    log = structlog.get_logger("supervisor")
    while True:
        begun_s = clock.boottime_s()
        try:
            await service()
            return
        except* (CatalogFault, StoreError) as group:
            reasons = sorted({str(error) for error in leaves(group)})
        if clock.boottime_s() - begun_s > RECOVERED_S:
            failures = 0
        failures += 1
        log.error("service_failed", service=name, failures=failures, reasons=reasons)
        await incidents.open("service-failed", name, "; ".join(reasons), "it is restarted by itself; see the log")
        await clock.sleep(min(backoff.delay_s(failures, name), LONGEST_S))
        await incidents.resolve("service-failed", name)


def leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """The errors in a group of groups."""
    found: list[BaseException] = []
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            found += leaves(cast("BaseExceptionGroup[BaseException]", error))
        else:
            found.append(error)
    return found
