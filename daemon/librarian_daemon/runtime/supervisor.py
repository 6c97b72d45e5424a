"""Keeping services going through what passes: a catalog or a store that fails for a while ends no daemon."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

import structlog

from librarian_daemon.ports import Clock, Incidents
from librarian_protocol import backoff
from librarian_protocol.errors import CatalogFault, StoreError

#: A service that ran for so long before it failed has recovered from what was before.
RECOVERED_S = 300.0
LONGEST_S = 30.0


async def supervise(name: str, service: Callable[[], Awaitable[None]], incidents: Incidents, clock: Clock) -> None:
    """Run a service; begin it again, ever more seldom, when the catalog or a store failed under it.

    Anything else that a service raises is our own mistake or cannot be mended while running: it ends the daemon, in
    the open, and whatever was in flight is found again at the next start.
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
        await incidents.open("service-failed", name, "; ".join(reasons), "it is begun again by itself; see the log")
        await clock.sleep(min(backoff.delay_s(failures, name), LONGEST_S))
        await incidents.resolve("service-failed", name)


def leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """The errors in a group of groups."""
    found: list[BaseException] = []
    for one in group.exceptions:
        if isinstance(one, BaseExceptionGroup):
            found += leaves(cast("BaseExceptionGroup[BaseException]", one))
        else:
            found.append(one)
    return found
