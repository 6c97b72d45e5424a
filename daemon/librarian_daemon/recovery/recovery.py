"""Recovery: what a site does when its catalog is older than what it has said (docs/adr/0012-rewind-and-quarantine.md).

Other sites give its own entries back, by catching up. Then this service begins a new incarnation above all that is
known, says again what was decided since, compares every name with the catalog, and ends the quarantine.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.journal import quarantine
from librarian_daemon.catalog.mesh.roster import get_anchor
from librarian_daemon.mesh.presences import Presences
from librarian_daemon.ports.incidents import Incidents
from librarian_daemon.ports.time import Clock
from librarian_daemon.recovery.restatement import Restater
from librarian_daemon.runtime.signals import Signal
from librarian_protocol import api
from librarian_protocol.errors import NotPossible, StoreError
from librarian_protocol.names import SiteName
from librarian_protocol.quarantine import COMPARING

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
        presences: Presences,
        found: Callable[[], Awaitable[None]],
        renew: Callable[[], Awaitable[object]],
        redeclare: Callable[[], Awaitable[None]],
    ) -> None:
        self._catalog = catalog
        self._incidents = incidents
        self._clock = clock
        self._site = site
        self._restater = restater
        self._presences = presences
        self._found = found
        self._renew = renew
        self._redeclare = redeclare
        self.wake = Signal()
        self._log = structlog.get_logger("recovery")

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            if await self._catalog.read(quarantine.state) is not None:
                await self._go_on()
            await self.wake.wait(LOOK_EVERY_S)

    async def how(self) -> api.Recovering:
        """How it stands."""
        known = await self._catalog.read(quarantine.state)
        if known is None:
            return api.Recovering()
        return api.Recovering(
            since=known.since,
            reasons=list(known.reasons),
            waits_for=await self._waits_for(),
            without_mesh=await self._catalog.read(get_anchor) is None,
        )

    async def _waits_for(self) -> list[str]:
        """What recovery waits for, in words; for sites that are not heard, with what to do."""
        return await self._catalog.read(quarantine.waits_for, self._site, await self._presences.away()) or []

    async def alone(self) -> None:
        """Take a person's word that no other site holds anything of this one: it becomes the first of a mesh again.

        Raises:
            NotPossible: nothing is being recovered, or the catalog knows its mesh.
        """
        how = await self.how()
        if how.since is None:
            raise NotPossible("the catalog is whole: nothing to recover")
        if not how.without_mesh:
            raise NotPossible(
                f"this site knows its mesh; it waits: {'; '.join(how.waits_for)}",
                hint="a site that will not come back is revoked: `lbctl site revoke SITE --reason WHY`",
            )
        await self._found()
        self._log.warning("alone")
        self.wake.set()

    async def _go_on(self) -> None:
        read, write = self._catalog.read, self._catalog.write
        known = await read(quarantine.state)
        if known is None or known.twin:
            return  # a twin's entries would come back for ever
        waits = await self._waits_for()
        await self._incidents.open(
            "catalog-behind",
            self._site,
            f"{'; '.join(known.reasons)}. Waiting: {'; '.join(waits) or 'for nothing'}",
            "nothing to do: it is fetched from the others, stores are compared, and nothing is vouched for meanwhile",
        )
        if await read(quarantine.greatest_returned_epoch, self._site) >= self._catalog.position.epoch:
            await self._renew()
            await self._redeclare()
        if await read(quarantine.unrestated):
            again = await write(quarantine.restate)
            await self._redeclare()
            self._log.warning("restated", declarations=again)
        if await read(quarantine.waits_for, self._site) == [COMPARING]:
            try:
                await self._restater.run()
            except StoreError as exc:
                self._log.error("stores_not_compared", error=exc.message)
                return
            if not await read(quarantine.unrestated):  # what came back meanwhile must be compared, too
                await write(quarantine.compared)
        if await read(quarantine.waits_for, self._site) == []:
            await write(quarantine.end)
            await self._incidents.resolve("catalog-behind", self._site)
            self._log.warning("recovered", since=known.since)
