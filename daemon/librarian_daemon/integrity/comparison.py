"""Compares a store with the catalog: what the rows say, and what is there.

Names and sizes only, in pages; nothing is decided here and nothing is changed. Recovery states what it finds
(:mod:`librarian_daemon.recovery.restatement`); at all other times it is reported
(:mod:`librarian_daemon.integrity.reconciler`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

import msgspec

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.integrity import comparison
from librarian_daemon.catalog.integrity.instances import Holding
from librarian_daemon.fs.book_tree import Extra
from librarian_daemon.ports.store import Store
from librarian_daemon.ports.store_capabilities import Candidate, DirEntry, Expected, listing_of
from librarian_protocol.entries import Unit
from librarian_protocol.errors import LibrarianError, NameInvalid
from librarian_protocol.names import Name, SiteName

PAGE = 500


class Unclaimed(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of a store without a row."""

    standing: DirEntry
    #: None if its path is not a valid name.
    name: Name | None
    #: Files of that name that the catalog knows, held elsewhere or nowhere.
    known: Sequence[comparison.KnownFile]
    #: The book that it is, if it is unknown and every byte was compared.
    book: Candidate | None = None


class Comparison:
    """One store against the catalog of its site."""

    def __init__(self, catalog: Catalog, store: Store, site: SiteName) -> None:
        self._catalog = catalog
        self._store = store
        self._site = site
        #: Rows and names looked at so far.
        self.looked = 0
        #: Entries in books that are not members: how many, and the paths of some.
        self.extra = Extra()

    async def rows(self) -> AsyncGenerator[tuple[Holding, LibrarianError | None], None]:
        """Instances whose row and disk differ: available ones with their error, suspected ones that look right.

        Raises:
            StoreError: the store cannot be looked at; nothing is concluded from that.
        """
        after = 0
        while True:
            page = await self._catalog.read(comparison.instances_after, self._site, self._store.id, after, PAGE)
            if not page.last:
                return
            found = await self._store.look([_expected(holding) for holding in page.holdings])
            for holding, seen in zip(page.holdings, found, strict=True):
                self.looked += 1
                if seen.error is None:
                    self.extra.add_those_of(str(holding.name), seen.extra)
                if (seen.error is None) != (holding.state == "available"):
                    yield holding, seen.error
            after = page.last

    async def names(
        self, find_book: Callable[[bytes], Awaitable[Candidate | None]] | None = None
    ) -> AsyncGenerator[Unclaimed, None]:
        """Everything in the store without a row. Books are not searched.

        Args:
            find_book: says which book an unknown directory is. If it is none, its content is examined.

        Raises:
            StoreError: the store cannot be looked at.
            NotPossible: its content cannot be listed.
        """
        listing = listing_of(self._store)
        pending: list[bytes] = [b""]
        while pending:
            directory = pending.pop()
            async for page in listing.entries(directory):
                files = await self._known(page)
                for entry in page:
                    if entry.other:
                        continue
                    self.looked += 1
                    known = files.get(entry.path, [])
                    if any(file.here == self._store.id for file in known):
                        continue
                    whole = not entry.directory or any(file.unit is Unit.BOOK for file in known)
                    book = None if whole or find_book is None else await find_book(entry.path)
                    if whole or book is not None:
                        yield Unclaimed(standing=entry, name=name_of(entry.path), known=known, book=book)
                    else:
                        pending.append(entry.path)

    async def _known(self, page: Sequence[DirEntry]) -> dict[bytes, list[comparison.KnownFile]]:
        """What the catalog says of files under these names."""
        names = {name: entry.path for entry in page if (name := name_of(entry.path)) is not None}
        found = await self._catalog.read(comparison.known, self._site, sorted(names))
        return {names[Name(name)]: files for name, files in found.items()}


def name_of(path: bytes) -> Name | None:
    """The name that a path below a store is; None if it is none."""
    try:
        return Name.parse(path.decode())
    except (UnicodeDecodeError, NameInvalid):
        return None


def _expected(holding: Holding) -> Expected:
    return Expected(name=holding.name, digest=holding.digest, unit=holding.unit, size_bytes=holding.size_bytes)
