"""Restores a store's marker that somebody deleted (``lbctl store mark``).

Only the marker says which store a directory is. So the content of the directory is first compared with the catalog, by
names and sizes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import structlog

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.integrity import comparison
from librarian_daemon.ports.store import Store
from librarian_daemon.ports.store_capabilities import Expected, directory_of
from librarian_protocol import api
from librarian_protocol.errors import ArgumentInvalid, NotFound
from librarian_protocol.names import SiteName

#: Number of instances that are compared: enough to tell stores apart, and done in a minute.
MOST = 20_000
_PAGE = 1000


class StoreMarker:
    """Restores markers."""

    def __init__(self, catalog: Catalog, stores: Sequence[Store], site: SiteName) -> None:
        self._catalog = catalog
        self._stores = stores
        self._site = site
        self._log = structlog.get_logger("stores")

    async def mark(self, path: str, wanted: str) -> api.StoreMarked:
        """Compare, and write the marker. ``wanted`` is the store's id or label. Idempotent.

        Raises:
            NotFound: this site has no such store.
            ArgumentInvalid: the store is configured elsewhere.
            NotPossible: the store is no directory of this host, or its content does not look like the store, or is
                marked as another one.
            StoreError: the directory cannot be read or written.
        """
        store = next((store for store in self._stores if wanted in {store.id, store.label}), None)
        if store is None:
            known = ", ".join(f"{store.label} ({store.id})" for store in self._stores)
            raise NotFound(f"this site has no store {wanted!a}", hint=f"there are: {known}")
        directory = directory_of(store)
        if os.path.realpath(path) != os.path.realpath(directory.path):
            raise ArgumentInvalid(
                f"store {store.label!r} is configured at {directory.path}, not at {path}",
                hint="give that path; or change `path` of its [[store]] in site.toml and restart the daemon first",
            )
        marked = await directory.mark(await self._expected(store.id))
        compared = marked.compared
        self._log.warning(
            "store_marked", store=store.label, path=directory.path, looked=compared.looked, found=compared.found
        )
        return api.StoreMarked(
            id=store.id,
            label=store.label,
            path=directory.path,
            was_marked=marked.was_marked,
            looked=compared.looked,
            found=compared.found,
            missing=compared.missing,
            wrong=compared.wrong,
            examples=list(marked.examples),
        )

    async def _expected(self, store: str) -> list[Expected]:
        """Some of the instances that should be there, a bounded number."""
        found: list[Expected] = []
        last = 0
        while len(found) < MOST:
            page = await self._catalog.read(comparison.instances_after, self._site, store, last, _PAGE)
            found += [
                Expected(name=holding.name, digest=holding.digest, unit=holding.unit, size_bytes=holding.size_bytes)
                for holding in page.holdings
                if holding.state != "suspected"
            ]
            if not page.last:
                break
            last = page.last
        return found
