"""Intake's view of the catalog."""

from __future__ import annotations

from collections.abc import Sequence

from librarian_daemon.catalog import landings
from librarian_daemon.catalog.writer import Catalog
from librarian_daemon.metrics import Metrics
from librarian_daemon.ports import Landing, Standing
from librarian_protocol.digests import Digest
from librarian_protocol.names import Name


class CatalogLedger:
    """Implements the ``Ledger`` port."""

    def __init__(self, catalog: Catalog, metrics: Metrics) -> None:
        self._catalog = catalog
        self._metrics = metrics

    async def standing(self, store: str, files: Sequence[tuple[Name, Digest]]) -> Sequence[tuple[Standing, str]]:
        """See the port."""
        return await self._catalog.read(landings.standing, store, files)

    async def begin(self, landing_rows: Sequence[Landing]) -> None:
        """See the port."""
        await self._catalog.write(landings.begin, landing_rows)

    async def accept(self, landing_rows: Sequence[Landing]) -> None:
        """See the port."""
        said = await self._catalog.write(landings.finish, landing_rows)
        self._metrics.intake_files.labels(outcome="accepted").inc(len(said))

    async def abandon(self, landing_rows: Sequence[Landing]) -> None:
        """See the port."""
        await self._catalog.write(landings.abandon, landing_rows)

    async def unfinished(self, store: str) -> Sequence[Landing]:
        """See the port."""
        return await self._catalog.read(landings.unfinished, store)
