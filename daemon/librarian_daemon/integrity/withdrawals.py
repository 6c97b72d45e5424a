"""Moves the bytes of withdrawn files away from their name at this site.

A rename within the store, under a landing row: never over anything, nothing is deleted, and made again after a crash
until it is done. Only then may another file have the name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from librarian_daemon.catalog import landings
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.integrity import withdrawals
from librarian_daemon.catalog.integrity.withdrawals import LeavingInstance
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.ports.incidents import Incidents, mended
from librarian_daemon.ports.store import Action, Landing, Store
from librarian_daemon.ports.store_capabilities import keeping_of
from librarian_daemon.ports.time import Rng
from librarian_daemon.runtime.signals import Signal
from librarian_protocol.errors import LibrarianError
from librarian_protocol.names import SiteName

_PAGE = 100
_LOOK_EVERY_S = 30.0
_HINT = "it is tried again by itself; nothing was deleted"


class Withdrawals:
    """Service."""

    def __init__(
        self, catalog: Catalog, stores: Mapping[str, Store], incidents: Incidents, rng: Rng, site: SiteName
    ) -> None:
        self._catalog = catalog
        self._stores = stores
        self._incidents = incidents
        self._rng = rng
        self._site = site
        self.wake = Signal()
        self._moving = asyncio.Lock()
        self._log = structlog.get_logger("withdrawals")

    async def recover(self, store: Store) -> None:
        """Finish what a crash left. Called before any service runs.

        Raises:
            StoreError: the store does not do it; the row stays.
            NotPossible: bytes cannot leave their name in this store.
        """
        for landing in await self._catalog.read(withdrawals.unfinished, store.id):
            await self._finish(store, landing)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            full = await self.carry_out()
            await self.wake.wait(1.0 if full else _LOOK_EVERY_S)

    async def carry_out(self) -> bool:
        """Move withdrawn files. Returns whether there are more."""
        async with self._moving:
            return await self._carry_out()

    async def _carry_out(self) -> bool:
        page = await self._catalog.read(withdrawals.due, self._site, _PAGE)
        moved = 0
        for leaving in page:
            name = leaving.holding.name
            try:
                moved += await self._leave(leaving, Action.WITHDRAW)
            except LibrarianError as exc:
                self._log.error("not_withdrawn", name=name, error=exc.message)
                await self._incidents.open("name-not-moved", name, exc.message, _HINT)
            else:
                await self._incidents.resolve("name-not-moved", name)
        return len(page) == _PAGE and moved > 0

    async def _leave(self, leaving: LeavingInstance, action: Action) -> bool:
        if leaving.holding.store not in self._stores:
            return False  # it is no longer configured: nothing of it is touched
        await self._move(leaving, action)
        await mended(self._incidents, leaving.holding.name)
        return True

    async def _move(self, leaving: LeavingInstance, action: Action) -> str:
        holding = leaving.holding
        store = self._stores[holding.store]
        landing = Landing(
            id=f"{action.value[0]}-{self._rng.hex(32)}",
            store=store.id,
            root=store.location,
            rel=await keeping_of(store).free_place(holding.digest, withdrawn=action is Action.WITHDRAW),
            name=holding.name,
            digest=holding.digest,
            size_bytes=holding.size_bytes,
            unit=holding.unit,
            entry=withdrawals.withdrawn(holding),
            action=action,
        )
        if leaving.replaced and not leaving.aside:
            await self._catalog.write(_without_moving, landing)
            return ""
        await self._catalog.write(landings.begin, [landing])
        return await self._finish(store, landing)

    async def _finish(self, store: Store, landing: Landing) -> str:
        aside = await self._catalog.read(withdrawals.is_aside, landing)
        async with store.names.landing():
            moved = await keeping_of(store).move_away(landing.name, landing.digest, landing.rel, aside=aside)
            await self._catalog.write(withdrawals.finish, landing)
        self._catalog.changed.set()
        place = f"{store.location}/{landing.rel}" if moved else ""
        self._log.warning("bytes_left_their_name", name=landing.name, action=landing.action.value, place=place)
        return place


def _without_moving(tx: Tx, landing: Landing) -> None:
    """Another file's bytes are at the name: the instance is gone already."""
    landings.begin(tx, [landing])
    withdrawals.finish(tx, landing)
