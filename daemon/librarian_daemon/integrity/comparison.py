"""Holding a store against the catalog: what rows say should stand there, and what stands there.

Names and sizes only, in pages; nothing is decided here and nothing is changed. Recovery states what it finds
(:mod:`librarian_daemon.restating`); at all other times it is reported (:mod:`librarian_daemon.reconciling`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

import msgspec

from librarian_daemon.catalog import reconciling
from librarian_daemon.catalog.holdings import Holding
from librarian_daemon.catalog.writer import Catalog
from librarian_daemon.ports import Landing
from librarian_daemon.store.finding import Candidate
from librarian_daemon.store.looking import Standing
from librarian_daemon.store.posix import PosixStore
from librarian_protocol.entries import Unit
from librarian_protocol.errors import LibrarianError, NameInvalid
from librarian_protocol.names import Name, SiteName

PAGE = 500


class Unclaimed(msgspec.Struct, frozen=True, kw_only=True):
    """Something that stands in a store, and that no row of the store is about."""

    standing: Standing
    #: None where what stands there is no name at all.
    name: Name | None
    #: Files of that name that the catalog knows, held elsewhere or nowhere.
    known: Sequence[reconciling.Known]
    #: The book that it is, every byte of it, where nothing is known of it and somebody could tell.
    book: Candidate | None = None


class Comparison:
    """One store against the catalog of its site."""

    def __init__(self, catalog: Catalog, store: PosixStore, site: SiteName) -> None:
        self._catalog = catalog
        self._store = store
        self._site = site
        #: Rows and names looked at so far.
        self.looked = 0

    async def rows(self) -> AsyncGenerator[tuple[Holding, LibrarianError | None], None]:
        """Instances whose row and disk differ: available ones with what is wrong, suspected ones that look right.

        Raises:
            StoreError: the store cannot be looked at; nothing is concluded from that.
        """
        after = 0
        while True:
            page = await self._catalog.read(reconciling.instances_after, self._site, self._store.id, after, PAGE)
            if not page.last:
                return
            errors = await self._store.look([_landing(self._store, one) for one in page.holdings])
            for one, error in zip(page.holdings, errors, strict=True):
                self.looked += 1
                if (error is None) != (one.state == "available"):
                    yield one, error
            after = page.last

    async def names(
        self, find_book: Callable[[bytes], Awaitable[Candidate | None]] | None = None
    ) -> AsyncGenerator[Unclaimed, None]:
        """Everything that stands there and that no row of this store is about. Books are not looked into.

        Args:
            find_book: says which book an unknown directory is; where it is none, what stands in it is looked at.

        Raises:
            StoreError: the store cannot be looked at.
        """
        pending: list[bytes] = [b""]
        while pending:
            directory = pending.pop()
            async for page in self._store.entries(directory):
                files = await self._known(page)
                for one in page:
                    if one.other:
                        continue
                    self.looked += 1
                    known = files.get(one.path, [])
                    if any(file.here == self._store.id for file in known):
                        continue
                    whole = not one.directory or any(file.unit is Unit.BOOK for file in known)
                    book = None if whole or find_book is None else await find_book(one.path)
                    if whole or book is not None:
                        yield Unclaimed(standing=one, name=name_of(one.path), known=known, book=book)
                    else:
                        pending.append(one.path)

    async def _known(self, page: Sequence[Standing]) -> dict[bytes, list[reconciling.Known]]:
        """What the catalog says of files under these names."""
        names = {name: one.path for one in page if (name := name_of(one.path)) is not None}
        found = await self._catalog.read(reconciling.known, self._site, sorted(names))
        return {names[Name(name)]: files for name, files in found.items()}


def name_of(path: bytes) -> Name | None:
    """The name that a path below a store is; None where it is none."""
    try:
        return Name.parse(path.decode())
    except (UnicodeDecodeError, NameInvalid):
        return None


def _landing(store: PosixStore, one: Holding) -> Landing:
    """The instance in the words of what compares it."""
    return Landing(
        id="",
        store=store.id,
        root=store.root,
        rel=str(one.name),
        name=one.name,
        digest=one.digest,
        size_bytes=one.size_bytes,
        unit=one.unit,
        entry=one.healed(),
    )
