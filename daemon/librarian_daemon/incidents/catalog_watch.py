"""Finds out whether the catalog can be written, also while nothing else happens: it writes a little every minute."""

from __future__ import annotations

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.meta import put_meta
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.ports.time import Clock
from librarian_protocol.errors import CatalogFault

EVERY_S = 60.0
AGAIN_S = 5.0


class CatalogWatch:
    """Service. Its result is in :attr:`librarian_daemon.catalog.committer.Catalog.trouble`."""

    def __init__(self, catalog: Catalog, clock: Clock) -> None:
        self._catalog = catalog
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._catalog.write(_write)
            except CatalogFault:
                await self._clock.sleep(AGAIN_S)
                continue
            await self._clock.sleep(EVERY_S)


def _write(tx: Tx) -> None:
    put_meta(tx.connection, "written_at", tx.now)
