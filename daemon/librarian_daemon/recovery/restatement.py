"""Stating what the disk shows, after the catalog was restored or lost (DESIGN 5, Rewound).

First every instance that the catalog knows is looked for, then every name that stands in the store; bytes are read
where names and sizes differ or nothing is known. A directory is a book again where one of the store's manifests lists
exactly what stands in it. Nothing is moved or deleted.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import structlog

from librarian_daemon.catalog import reconciling
from librarian_daemon.catalog.holdings import Holding
from librarian_daemon.catalog.writer import Catalog, Tx
from librarian_daemon.comparing import Comparison, Unclaimed, name_of
from librarian_daemon.store.finding import BookFinder, Candidate
from librarian_daemon.store.posix import PosixStore
from librarian_protocol.digests import Digest
from librarian_protocol.entries import FileIngested, How, InstanceHealed, InstanceRegistered, InstanceSuspected, Unit
from librarian_protocol.errors import LibrarianError
from librarian_protocol.names import Name, SiteName

_NOTHING = Digest.blake3(b"")


class Restater:
    """Compares and states; keeps nothing. Broken off, it is begun again, and says nothing twice."""

    def __init__(self, catalog: Catalog, stores: Sequence[PosixStore], site: SiteName) -> None:
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
        for store in self._stores:
            comparison = Comparison(self._catalog, store, self._site)
            async for one, error in comparison.rows():
                stated += await self._row(store, one, error)
            books = Books(self._catalog, store)
            async for found in comparison.names(books.at):
                stated += await self._found(store, found, books)
            looked += comparison.looked
        self._log.info("restated_stores", looked=looked, stated=stated)

    async def _row(self, store: PosixStore, seen: Holding, error: LibrarianError | None) -> bool:
        """Unless the instance has another state by now."""
        entry: InstanceSuspected | InstanceHealed
        if error is not None:
            entry = seen.suspected(error.message)
        elif (await store.check(seen.name, seen.digest, seen.unit, seen.size_bytes)).error is None:
            entry = seen.healed()
        else:
            return False

        def work(tx: Tx) -> bool:
            if reconciling.state(tx.connection, self._site, seen.store, seen.file_id) != seen.state:
                return False
            tx.say(entry)
            return True

        return await self._catalog.write(work)

    async def _found(self, store: PosixStore, found: Unclaimed, books: Books) -> bool:
        """Something that no row of this store is about: one of the known files of that name, or a new one.

        Only verified bytes ever got a name. So what is none of the known ones was accepted here, and the catalog that
        said so is gone: it is ingested, and where others gave the name to other bytes meanwhile that is a conflict.
        """
        name, one = found.name, found.standing
        if name is None:
            return self._unknown(store, os.fsdecode(one.path), "no valid name")
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
                return await self._catalog.write(reconciling.state_found, self._site, entry)
        if one.directory:
            book = found.book or await books.at(one.path)
            if book is None:
                return self._unknown(store, name, "another book than is known")
            return await self._ingested(store, name, *book, Unit.BOOK)
        check = await store.check(name, _NOTHING, Unit.FILE, one.size_bytes)
        if check.digest is None:
            return self._unknown(store, name, "cannot be read")
        return await self._ingested(store, name, check.digest, check.size_bytes, Unit.FILE)

    async def _ingested(self, store: PosixStore, name: Name, digest: Digest, size_bytes: int, unit: Unit) -> bool:
        entry = FileIngested(name=name, digest=digest, size_bytes=size_bytes, unit=unit, store=store.id, mtime_ns=0)
        return await self._catalog.write(reconciling.state_found, self._site, entry)

    def _unknown(self, store: PosixStore, path: str, reason: str) -> bool:
        self._log.warning("unknown_file", store=store.label, path=path, reason=reason)
        return False


class Books:
    """Directories of one store that are books which the catalog does not know."""

    def __init__(self, catalog: Catalog, store: PosixStore) -> None:
        self._catalog = catalog
        self._store = store
        self._finder: BookFinder | None = None

    async def at(self, directory: bytes) -> Candidate | None:
        """Which book an unknown directory is, every byte of it; none where known names lie below it."""
        name = name_of(directory)
        if name is None or await self._catalog.read(reconciling.is_above, str(name)):
            return None
        if self._finder is None:
            self._finder = await self._store.books()
        for digest, size_bytes in await self._store.book_candidates(self._finder, directory):
            if (await self._store.check(name, digest, Unit.BOOK, size_bytes)).error is None:
                return digest, size_bytes
        return None
