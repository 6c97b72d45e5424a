"""Intake's view of the catalog."""

from __future__ import annotations

from collections.abc import Sequence

from librarian_daemon.catalog import landings as landing_rows
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.mesh.grants import standing_and_grants
from librarian_daemon.landing.failovers import Failovers
from librarian_daemon.landing.rooms import Rooms
from librarian_daemon.ports.incidents import Incidents, mended
from librarian_daemon.ports.ledger import NameStatus
from librarian_daemon.ports.store import Landing
from librarian_daemon.runtime.metrics import Metrics
from librarian_protocol import globs, store_choice
from librarian_protocol.digests import Digest
from librarian_protocol.entries import FileIngested
from librarian_protocol.names import Name
from librarian_protocol.store_choice import Chosen


class CatalogLedger:
    """Implements the ``Ledger`` port."""

    def __init__(
        self, catalog: Catalog, metrics: Metrics, incidents: Incidents, rooms: Rooms, failovers: Failovers
    ) -> None:
        self._catalog = catalog
        self._metrics = metrics
        self._incidents = incidents
        self._rooms = rooms
        self._failovers = failovers

    async def standing(self, store: str, files: Sequence[tuple[Name, Digest]]) -> Sequence[tuple[NameStatus, str]]:
        """See the port."""
        site = self._catalog.position.site
        found, grants = await self._catalog.read(standing_and_grants, site, store, files)
        if grants is None:
            return found
        return [
            (NameStatus.NOT_GRANTED, ", ".join(grants))
            if status[0] is NameStatus.FREE and not any(globs.matches(grant, name) for grant in grants)
            else status
            for (name, _), status in zip(files, found, strict=True)
        ]

    async def size_of(self, name: Name, digest: str) -> int | None:
        """See the port."""
        return await self._catalog.read(landing_rows.size_of, name, digest)

    async def begin(self, landings: Sequence[Landing]) -> Sequence[Landing]:
        """See the port."""
        return await self._catalog.write(landing_rows.begin, landings)

    async def accept(self, landings: Sequence[Landing]) -> None:
        """See the port."""
        said = await self._catalog.write(landing_rows.finish, landings)
        self._metrics.intake_files.labels(outcome="accepted").inc(len(said))
        self._metrics.intake_bytes.inc(sum(landing.size_bytes for landing in said))
        for landing in said:
            if not isinstance(landing.entry, FileIngested):  # it was known, and is here again
                await mended(self._incidents, landing.name)

    async def abandon(self, landings: Sequence[Landing]) -> None:
        """See the port."""
        await self._catalog.write(landing_rows.abandon, landings)

    async def choose(self, stores: Sequence[str], size_bytes: int) -> str:
        """See the port."""
        look = await self._rooms.look(stores)
        candidates = [look.candidates[store] for store in stores if store in look.candidates]
        answer = store_choice.choose(size_bytes, candidates) if candidates else None
        if not isinstance(answer, Chosen):
            return stores[0]
        for store, why in answer.instead_of:
            await self._failovers.passed(look, store, why, answer.store, size_bytes)
        return answer.store

    def doubt(self, store: str) -> None:
        """See the port."""
        self._rooms.doubt(store)

    async def promise(self, id_: str, store: str, size_bytes: int) -> None:
        """See the port."""
        await self._rooms.promise(id_, store, size_bytes)

    def release(self, id_: str) -> None:
        """See the port."""
        self._rooms.release(id_)

    async def unfinished(self, store: str) -> Sequence[Landing]:
        """See the port."""
        return await self._catalog.read(landing_rows.unfinished, store)
