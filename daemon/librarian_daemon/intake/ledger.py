"""Intake's view of the catalog."""

from __future__ import annotations

from collections.abc import Sequence

from librarian_daemon.catalog import landings as rows
from librarian_daemon.catalog.roster import grants_of
from librarian_daemon.catalog.writer import Catalog
from librarian_daemon.metrics import Metrics
from librarian_daemon.ports import Landing, Standing
from librarian_protocol import globs
from librarian_protocol.digests import Digest
from librarian_protocol.names import Name


class CatalogLedger:
    """Implements the ``Ledger`` port."""

    def __init__(self, catalog: Catalog, metrics: Metrics) -> None:
        self._catalog = catalog
        self._metrics = metrics

    async def standing(self, store: str, files: Sequence[tuple[Name, Digest]]) -> Sequence[tuple[Standing, str]]:
        """See the port."""
        found = await self._catalog.read(rows.standing, store, files)
        grants = await self._catalog.read(grants_of, self._catalog.position.site)
        if grants is None:
            return found
        may = [any(globs.matches(grant, name) for grant in grants) for name, _ in files]
        return [
            one if granted or one[0] is not Standing.FREE else (Standing.NOT_GRANTED, ", ".join(grants))
            for granted, one in zip(may, found, strict=True)
        ]

    async def begin(self, landings: Sequence[Landing]) -> None:
        """See the port."""
        await self._catalog.write(rows.begin, landings)

    async def accept(self, landings: Sequence[Landing]) -> None:
        """See the port."""
        said = await self._catalog.write(rows.finish, landings)
        self._metrics.intake_files.labels(outcome="accepted").inc(len(said))
        self._metrics.intake_bytes.inc(sum(one.size_bytes for one in said))

    async def abandon(self, landings: Sequence[Landing]) -> None:
        """See the port."""
        await self._catalog.write(rows.abandon, landings)

    async def unfinished(self, store: str) -> Sequence[Landing]:
        """See the port."""
        return await self._catalog.read(rows.unfinished, store)
