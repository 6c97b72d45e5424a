"""Carries out decisions about names in the stores: the loser is set aside, the winner gets the name.

The register of an instance says nothing of it: that it is set aside follows from the decision. Moves are renames, made
again after a crash until they are done; only then is the other file planned for the name.
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.integrity import set_aside
from librarian_daemon.catalog.integrity.set_aside import Move
from librarian_daemon.ports.incidents import Incidents
from librarian_daemon.ports.store import Store
from librarian_daemon.ports.store_capabilities import keeping_of
from librarian_daemon.runtime.signals import Signal
from librarian_protocol.errors import LibrarianError
from librarian_protocol.names import SiteName

_PAGE = 100
_LOOK_EVERY_S = 30.0


class NameKeeper:
    """Service."""

    def __init__(self, catalog: Catalog, stores: Mapping[str, Store], incidents: Incidents, site: SiteName) -> None:
        self._catalog = catalog
        self._stores = stores
        self._incidents = incidents
        self._site = site
        self.wake = Signal()
        self._log = structlog.get_logger("names")

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            for move in await self._catalog.read(set_aside.due, self._site, _PAGE):
                try:
                    await self._make(move)
                except LibrarianError as exc:
                    self._log.error("name_not_moved", name=move.name, aside=move.aside, error=exc.message)
                    await self._incidents.open(
                        "name-not-moved", move.name, exc.message, "look at what stands at the name; nothing was deleted"
                    )
            await self.wake.wait(_LOOK_EVERY_S)

    async def _make(self, move: Move) -> None:
        store = self._stores.get(move.store)
        if store is None:
            return  # it is no longer configured: nothing of it is touched
        async with store.names.landing():
            keeping = keeping_of(store)
            if move.aside:
                if not await keeping.is_aside(move.digest):
                    check = await store.check(move.name, move.digest, move.unit, move.size_bytes)
                    if check.error is not None:
                        raise check.error  # the bytes there are not those of the decision
                    await keeping.set_aside(move.name, move.digest)
            else:
                await keeping.bring_back(move.name, move.digest)
            await self._catalog.write(set_aside.moved, move)
        self._catalog.changed.set()
        await self._incidents.resolve("name-not-moved", move.name)
        self._log.info("name_moved", name=move.name, digest=move.digest, aside=move.aside)
