"""Stores in which too much is bad at once: frozen until a person says so, with one incident for the site."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.integrity import scrubbing
from librarian_daemon.ports.incidents import Incidents
from librarian_daemon.ports.store import Store
from librarian_protocol.names import SiteName

INCIDENT = "store-frozen"
_HINT = "look at the disk, its controller and the kernel's log; then `lbctl store thaw LABEL --reason TEXT`"


class Freezing:
    """Freezes and thaws stores. The catalog has what counts; the incident tells people."""

    def __init__(self, catalog: Catalog, stores: Mapping[str, Store], incidents: Incidents, site: SiteName) -> None:
        self._catalog = catalog
        self._stores = stores
        self._incidents = incidents
        self._site = site
        self._log = structlog.get_logger("freezing")

    async def freeze(self, store: str, reason: str) -> None:
        """It neither vouches nor evicts from now on. Idempotent."""
        if await self._catalog.write(scrubbing.freeze, store, reason):
            self._log.error("store_frozen", store=self._label(store), reason=reason)
        await self.tell()

    async def thaw(self, store: str, reason: str) -> bool:
        """It counts again. Returns whether it was frozen."""
        was = await self._catalog.write(scrubbing.thaw, store)
        if was:
            self._log.warning("store_thawed", store=self._label(store), reason=reason)
        await self.tell()
        return was

    async def tell(self) -> None:
        """Open the incident, or resolve it: as the catalog says."""
        frozen = await self._catalog.read(scrubbing.frozen)
        if not frozen:
            await self._incidents.resolve(INCIDENT, self._site)
            return
        stores = "; ".join(f"{self._label(store)!r}: {state.reason}" for store, state in frozen.items())
        await self._incidents.open(
            INCIDENT, self._site, f"stores neither vouch nor give anything up any more: {stores}", _HINT
        )

    def _label(self, store: str) -> str:
        known = self._stores.get(store)
        return known.label if known else store
