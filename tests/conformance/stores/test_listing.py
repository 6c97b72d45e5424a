"""What a store does that can list what stands in it; and what is said of one that cannot."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.support.memory_store import MemoryStore
from tests.support.memory_volume import Volume
from tests.support.store_kinds import Outside
from tests.support.stores import staged_book, stored

from librarian_daemon.ports.store import SiteStore
from librarian_daemon.ports.store_capabilities import Able, Listing, directory_of, keeping_of, listing_of
from librarian_protocol.errors import NotPossible


async def listed(listing: Listing, directory: bytes) -> dict[bytes, tuple[bool, int]]:
    found = [entry async for page in listing.entries(directory) for entry in page]
    assert not any(entry.other for entry in found)
    return {entry.path: (entry.directory, 0 if entry.directory else entry.size_bytes) for entry in found}


async def test_a_directory_lists_what_stands_directly_in_it(listing: Listing, outside: Outside) -> None:
    for path, data in {"a": b"1", "d/b": b"22", "d/e/c": b"", "d.f": b"4"}.items():
        outside.put(path, data)
    assert await listed(listing, b"") == {b"a": (False, 1), b"d": (True, 0), b"d.f": (False, 1)}
    assert await listed(listing, b"d") == {b"d/b": (False, 2), b"d/e": (True, 0)}
    assert await listed(listing, b"gone") == {}


async def test_what_the_store_keeps_for_itself_is_not_listed(store: SiteStore, listing: Listing) -> None:
    await store.write_head("head")
    await stored(store, await staged_book(store, "k", "book", {"x": b"x"}, []))
    await staged_book(store, "later", "later", {"x": b"x"}, [])
    assert await listed(listing, b"") == {b"book": (True, 0)}


async def test_a_book_is_found_again_by_what_stands_in_its_directory(
    store: SiteStore, listing: Listing, outside: Outside
) -> None:
    book = await staged_book(store, "k1", "n/book", {"a/x": b"1", "b": b"22"}, ["empty"])
    await stored(store, book)
    await stored(store, await staged_book(store, "k2", "other", {"b": b"333"}, []))
    finder = await listing.books()
    assert list(await finder.candidates(b"n/book")) == [(book.digest, 3)]
    outside.put("n/book/more", b"")
    assert list(await finder.candidates(b"n/book")) == []


@pytest.mark.parametrize("asked", [directory_of, keeping_of, listing_of])
def test_a_store_that_cannot_is_named_with_the_reason(asked: Callable[[Able], object]) -> None:
    store = MemoryStore(Volume(), id_="i", label="cold", keeps=False, lists=False)
    with pytest.raises(NotPossible) as refused:
        asked(store)
    assert refused.value.message.startswith("store 'cold' ")
    assert refused.value.hint
