"""What this site declares, at each start, after each admission, and when its stores change; and retiring of stores."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.journal import quarantine
from librarian_daemon.catalog.mesh import declarations
from librarian_daemon.catalog.stores import attached
from librarian_daemon.catalog.stores.attached import Origin
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.ports.incidents import Incidents
from librarian_daemon.ports.store import SiteStore
from librarian_daemon.runtime.signals import Signal
from librarian_protocol import api
from librarian_protocol.entries import SiteAdmitted, SiteAnnounced
from librarian_protocol.names import SiteName

#: How often it is examined even if nothing seems to have changed.
LOOK_EVERY_S = 30.0


class Declarations:
    """Service :meth:`run`; retiring of stores."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        incidents: Incidents,
        site: SiteName,
        stores: Sequence[SiteStore],
        announced: SiteAnnounced,
    ) -> None:
        self._catalog = catalog
        self._incidents = incidents
        self._site = site
        self._stores = stores
        self._announced = announced
        self._changed = Signal()
        catalog.watch(self._changed, SiteAdmitted)
        self._log = structlog.get_logger("declarations")

    async def say(self) -> None:
        """Declare what is new or different, and open an incident for each store that is not attached. Idempotent.

        Nothing is declared while entries of this site came back whose incarnation is later than its own: they would
        win, and the same would be declared again and again. Recovery then begins a new incarnation, and declares it.
        """
        if await self._catalog.read(quarantine.greatest_returned_epoch, self._site) >= self._catalog.position.epoch:
            return
        await self._catalog.write(self._declare)
        await self._tell()

    def _declare(self, tx: Tx) -> None:
        declarations.declare(tx, self._site, declarations.attached_now(tx.connection), self._announced)

    async def run(self) -> None:
        """Service: declares the stores again after another admission, so that they count again."""
        while True:
            await self._changed.wait(LOOK_EVERY_S)
            await self.say()

    async def _tell(self) -> None:
        attached_now = [store.id for store in await self._catalog.read(attached.attached)]
        left_out = await self._catalog.read(declarations.left_out, self._site, attached_now)
        holding = {f"{store.label} ({store.id})": store for store in left_out if store.instances}
        for subject, store in holding.items():
            await self._incidents.open(
                "store-left-out",
                subject,
                f"{store.instances:,} good instances count as held in store {store.label!r}, which is not configured",
                f"put its [[store]] into site.toml again; if its disk is lost: `lbctl store retire {store.id} --lost`",
            )
        for gone in await self._incidents.subjects("store-left-out"):
            if gone not in holding:
                await self._incidents.resolve("store-left-out", gone)

    async def retire(self, wanted: str, *, lost: bool) -> api.StoreRetired:
        """See :func:`declarations.retire`; a store that is attached and not there may be retired, too."""
        there = [store.id for store in self._stores if not store.withheld]

        def work(tx: Tx) -> declarations.Retired:
            live = {store.id for store in attached.attached(tx.connection) if store.origin is Origin.LIVE}
            # One that was added live and holds nothing is taken away without a change of the configuration.
            in_use = [id_ for id_ in there if id_ not in live or declarations.is_used(tx.connection, self._site, id_)]
            return declarations.retire(tx, self._site, wanted, in_use=in_use, lost=lost)

        done = await self._catalog.write(work)
        await self._tell()
        self._log.warning("store_retired", store=done.label, id=done.id, instances=done.instances)
        return api.StoreRetired(id=done.id, label=done.label, instances=done.instances, nowhere_else=done.nowhere_else)
