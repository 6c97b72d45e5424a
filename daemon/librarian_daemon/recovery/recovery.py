"""Recovery: what a site does when its catalog turns out to be older than what it has said (DESIGN 5, Rewound).

Others hand back its own entries; the repairer brings them in. Here follows what that asks for: a new incarnation above
all that is known, stating again what was decided since, comparing every name with the catalog, and the end of the
quarantine, by itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from librarian_daemon.catalog import recovery
from librarian_daemon.catalog.roster import get_anchor
from librarian_daemon.catalog.writer import Catalog
from librarian_daemon.ports import Clock, Incidents
from librarian_daemon.restating import Restater
from librarian_daemon.signals import Signal
from librarian_protocol import api
from librarian_protocol.errors import NotPossible, StoreError
from librarian_protocol.names import SiteName
from librarian_protocol.recovering import COMPARING

LOOK_EVERY_S = 5.0


class Recoverer:
    """Service.

    ``found`` makes this the first site of a mesh; ``renew`` begins a new incarnation above all that is known;
    ``redeclare`` says the configuration.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        incidents: Incidents,
        clock: Clock,
        site: SiteName,
        restater: Restater,
        found: Callable[[], Awaitable[None]],
        renew: Callable[[], Awaitable[object]],
        redeclare: Callable[[], Awaitable[None]],
    ) -> None:
        self._catalog = catalog
        self._incidents = incidents
        self._clock = clock
        self._site = site
        self._restater = restater
        self._found = found
        self._renew = renew
        self._redeclare = redeclare
        self.wake = Signal()
        self._log = structlog.get_logger("recovery")

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            if await self._catalog.read(recovery.state) is not None:
                await self._go_on()
            await self.wake.wait(LOOK_EVERY_S)

    async def how(self) -> api.Recovering:
        """How it stands."""
        known = await self._catalog.read(recovery.state)
        if known is None:
            return api.Recovering()
        waits = await self._catalog.read(recovery.waits_for, self._site)
        return api.Recovering(
            since=known.since,
            reasons=list(known.reasons),
            waits_for=waits or [],
            without_mesh=await self._catalog.read(get_anchor) is None,
        )

    async def alone(self) -> None:
        """A person says that no other site holds anything of this one: it is the first of a mesh again.

        Raises:
            NotPossible: nothing is being recovered, or the catalog knows its mesh.
        """
        how = await self.how()
        if how.since is None:
            raise NotPossible("the catalog is whole: nothing to recover")
        if not how.without_mesh:
            raise NotPossible(
                f"this site knows its mesh; it waits: {'; '.join(how.waits_for)}",
                hint="a site that will not come back is revoked: `lbctl site revoke SITE`",
            )
        await self._found()
        self._log.warning("alone")
        self.wake.set()

    async def _go_on(self) -> None:
        read, write = self._catalog.read, self._catalog.write
        known = await read(recovery.state)
        if known is None:
            return
        waits = await read(recovery.waits_for, self._site)
        await self._incidents.open(
            "catalog-behind",
            self._site,
            f"{'; '.join(known.reasons)}. Waiting: {'; '.join(waits or ['for nothing'])}",
            "nothing to do: it is fetched from the others, stores are compared, and nothing is vouched for meanwhile",
        )
        if await read(recovery.greatest_returned_epoch, self._site) >= self._catalog.position.epoch:
            await self._renew()
        if await read(recovery.unrestated):
            again = await write(recovery.restate)
            await self._redeclare()
            self._log.warning("restated", declarations=again)
        if await read(recovery.waits_for, self._site) == [COMPARING]:
            try:
                await self._restater.run()
            except StoreError as exc:
                self._log.error("stores_not_compared", error=exc.message)
                return
            if not await read(recovery.unrestated):  # what came back meanwhile must be compared, too
                await write(recovery.compared)
        if await read(recovery.waits_for, self._site) == []:
            await write(recovery.end)
            await self._incidents.resolve("catalog-behind", self._site)
            self._log.warning("recovered", since=known.since)
