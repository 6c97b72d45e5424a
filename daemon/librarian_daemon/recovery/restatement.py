"""States what the disk shows, after the catalog was restored or lost (docs/adr/0012-rewind-and-quarantine.md).

First it looks for every instance that the catalog knows, then for every name in the store. It reads bytes where names
and sizes differ, or where nothing is known. A directory is a book again if it has everything that one of the store's
manifests lists. Nothing is moved or deleted.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import structlog

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.integrity import comparison
from librarian_daemon.catalog.integrity.instances import Holding
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.integrity.comparison import Comparison, Unclaimed, name_of
from librarian_daemon.ports.store import Store
from librarian_daemon.ports.store_capabilities import BookFinder, Candidate, listing_of
from librarian_protocol.digests import Digest
from librarian_protocol.entries import FileIngested, How, InstanceHealed, InstanceRegistered, InstanceSuspected, Unit
from librarian_protocol.errors import LibrarianError
from librarian_protocol.names import Name, SiteName

_NOTHING = Digest.blake3(b"")


class Restater:
    """Compares and states; keeps nothing. If it is interrupted, it starts again, and states nothing twice."""

    def __init__(self, catalog: Catalog, stores: Sequence[Store], site: SiteName) -> None:
        self._catalog = catalog
        self._stores = stores
        self._site = site
        self._log = structlog.get_logger("restating")

    async def run(self) -> None:
        """State every store.

        Raises:
            StoreError: a store cannot be looked at; nothing is concluded from that.
        """
        looked = stated = 0
        for store in list(self._stores):
            compared = Comparison(self._catalog, store, self._site)
            async for holding, error in compared.rows():
                stated += await self._row(store, holding, error)
            books = Books(self._catalog, store)
            if store.can.listing is not None:
                async for found in compared.names(books.at):
                    stated += await self._found(store, found, books)
            else:
                self._log.warning("names_not_stated", store=store.label, reason="this kind of store cannot be listed")
            looked += compared.looked
        self._log.info("restated_stores", looked=looked, stated=stated)

    async def _row(self, store: Store, seen: Holding, error: LibrarianError | None) -> bool:
        """Unless the instance has another state by now."""
        entry: InstanceSuspected | InstanceHealed
        if error is not None:
            entry = seen.suspected(error.message)
        elif (await store.check(seen.name, seen.digest, seen.unit, seen.size_bytes)).error is None:
            entry = seen.healed()
        else:
            return False

        def work(tx: Tx) -> bool:
            if comparison.state(tx.connection, self._site, seen.store, seen.file_id) != seen.state:
                return False
            tx.append(entry)
            return True

        return await self._catalog.write(work)

    async def _found(self, store: Store, found: Unclaimed, books: Books) -> bool:
        """Something that no row of this store is about: one of the known files of that name, or a new one.

        Only verified bytes ever get a name. So a file that is none of the known ones was accepted here, and the catalog
        that said so is gone: it is ingested. If other sites gave the name to other bytes meanwhile, that is a conflict.
        """
        name, standing = found.name, found.standing
        if name is None:
            return self._unknown(store, os.fsdecode(standing.path), "no valid name")
        for file in found.known:
            check = await store.check(name, file.digest, file.unit, file.size_bytes)
            if check.error is None:
                entry = InstanceRegistered(
                    name=name,
                    digest=file.digest,
                    size_bytes=file.size_bytes,
                    unit=file.unit,
                    store=store.id,
                    source_site=self._site,
                    how=How.FOUND,
                )
                return await self._catalog.write(comparison.state_found, self._site, entry)
        if standing.directory:
            book = found.book or await books.at(standing.path)
            if book is None:
                return self._unknown(store, name, "another book than is known")
            return await self._ingested(store, name, *book, Unit.BOOK)
        check = await store.check(name, _NOTHING, Unit.FILE, standing.size_bytes)
        if check.digest is None:
            return self._unknown(store, name, "cannot be read")
        return await self._ingested(store, name, check.digest, check.size_bytes, Unit.FILE)

    async def _ingested(self, store: Store, name: Name, digest: Digest, size_bytes: int, unit: Unit) -> bool:
        entry = FileIngested(name=name, digest=digest, size_bytes=size_bytes, unit=unit, store=store.id, mtime_ns=0)
        return await self._catalog.write(comparison.state_found, self._site, entry)

    def _unknown(self, store: Store, path: str, reason: str) -> bool:
        self._log.warning("unknown_file", store=store.label, path=path, reason=reason)
        return False


class Books:
    """Directories of one store that are books which the catalog does not know."""

    def __init__(self, catalog: Catalog, store: Store) -> None:
        self._catalog = catalog
        self._store = store
        self._finder: BookFinder | None = None

    async def at(self, directory: bytes) -> Candidate | None:
        """Which book an unknown directory is, every byte of it; none where known names lie below it."""
        name = name_of(directory)
        if name is None or await self._catalog.read(comparison.is_above, str(name)):
            return None
        if self._finder is None:
            self._finder = await listing_of(self._store).books()
        for digest, size_bytes in await self._finder.candidates(directory):
            if (await self._store.check(name, digest, Unit.BOOK, size_bytes)).error is None:
                return digest, size_bytes
        return None
