"""What every store does with books."""

from __future__ import annotations

import pytest
from tests.support.store_kinds import Outside
from tests.support.stores import expected, file_item, read, staged_book, stored

from librarian_daemon.ports.store import NotPlaced, Placed, SiteStore
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Unit
from librarian_protocol.errors import ChecksumMismatch, ManifestInvalid, SizeMismatch, SourceMissing, StoreError
from librarian_protocol.manifest import MemberDirectory, MemberFile

BOOK = {"a/x": b"1", "a.b": b"", "a-": b"33", "sub/deep/er": b"4" * 5000}
EMPTY = ["empty", "z/y"]


async def test_a_book_comes_to_its_name_with_its_empty_directories(store: SiteStore, outside: Outside) -> None:
    landing = await staged_book(store, "k1", "n/book", BOOK, EMPTY)
    pages = [page async for page in store.staged_manifest("k1-manifest", landing.digest)]
    await stored(store, landing)
    assert {path for path in BOOK if outside.read(f"n/book/{path}") == BOOK[path]} == set(BOOK)
    check = await store.check(landing.name, landing.digest, Unit.BOOK, landing.size_bytes)
    assert (check.error, check.digest, check.size_bytes) == (None, landing.digest, landing.size_bytes)
    assert [page async for page in store.manifest(landing.digest)] == pages
    assert {member.path for page in pages for member in page} == {*BOOK, *EMPTY}
    assert await read(store, "n/book", landing.digest, "member", "sub/deep/er") == BOOK["sub/deep/er"]
    assert Digest.blake3(await read(store, "n/book", landing.digest, "manifest")) == landing.digest
    assert await store.place([landing]) == [Placed(landing)]
    assert await store.recover(landing) == Placed(landing)


@pytest.mark.parametrize(("files", "empty"), [({}, []), ({}, ["only"]), ({"f": b""}, [])])
async def test_a_book_of_next_to_nothing_is_stored(store: SiteStore, files: dict[str, bytes], empty: list[str]) -> None:
    landing = await staged_book(store, "k1", "book", files, empty)
    await stored(store, landing)
    check = await store.check(landing.name, landing.digest, Unit.BOOK, 0)
    assert check.error is None


async def test_two_books_of_one_content_share_a_manifest(store: SiteStore) -> None:
    for number in (1, 2):
        await stored(store, await staged_book(store, f"k{number}", f"book{number}", BOOK, EMPTY))
    assert await store.staged() == frozenset()


@pytest.mark.parametrize("spoil", ["missing", "changed", "size"])
async def test_a_book_that_is_not_what_its_manifest_lists_is_found_out(
    store: SiteStore, outside: Outside, spoil: str
) -> None:
    landing = await staged_book(store, "k1", "book", BOOK, EMPTY)
    await stored(store, landing)
    match spoil:
        case "missing":
            outside.remove("book/a-")
        case "changed":
            outside.put("book/a-", b"34")
        case _:
            outside.put("book/a-", b"3")
    check = await store.check(landing.name, landing.digest, Unit.BOOK, landing.size_bytes)
    assert isinstance(check.error, (ChecksumMismatch, SourceMissing, SizeMismatch))
    assert check.digest is None
    (seen,) = await store.look([expected(landing)])
    assert (seen.error is None) == (spoil == "changed"), "names and sizes only"


async def test_what_stands_in_a_book_besides_is_told_and_harms_no_member(store: SiteStore, outside: Outside) -> None:
    landing = await staged_book(store, "k1", "book", BOOK, EMPTY)
    await stored(store, landing)
    outside.put("book/sub/.DS_Store", b"?")
    check = await store.check(landing.name, landing.digest, Unit.BOOK, landing.size_bytes)
    assert (check.error, check.extra_count, list(check.extra)) == (None, 1, ["sub/.DS_Store"])
    (seen,) = await store.look([expected(landing)])
    assert (seen.error, seen.extra.count) == (None, 1)


async def test_a_sealed_book_is_recovered(store: SiteStore) -> None:
    landing = await staged_book(store, "k1", "book", BOOK, EMPTY)
    await store.seal([landing])
    assert await store.recover(landing) == Placed(landing)
    check = await store.check(landing.name, landing.digest, Unit.BOOK, landing.size_bytes)
    assert check.error is None


async def test_a_staged_book_with_something_besides_is_not_sealed(store: SiteStore) -> None:
    landing = await staged_book(store, "k1", "book", BOOK, EMPTY)
    await store.staging.put([(file_item("k1/sub/other", b"x"), b"x")])
    (outcome,) = await store.seal([landing])
    assert isinstance(outcome, NotPlaced)
    assert isinstance(outcome.error, ChecksumMismatch)


async def test_a_large_manifest_comes_in_pages(store: SiteStore) -> None:
    files = {f"{number:05}": b"" for number in range(2500)}
    landing = await staged_book(store, "k1", "book", files, [])
    await stored(store, landing)
    pages = [page async for page in store.manifest(landing.digest)]
    assert max(map(len, pages)) <= 1000
    assert [member.path for page in pages for member in page] == sorted(files)
    assert all(isinstance(member, MemberFile) and not isinstance(member, MemberDirectory) for member in pages[0])


async def test_a_manifest_that_is_another_or_none_is_refused(store: SiteStore) -> None:
    landing = await staged_book(store, "k1", "book", BOOK, EMPTY)
    with pytest.raises(ManifestInvalid):
        async for _ in store.staged_manifest("k1-manifest", Digest.blake3(b"other")):
            pass
    with pytest.raises(StoreError):
        async for _ in store.staged_manifest("nothing", landing.digest):
            pass
    with pytest.raises(SourceMissing):
        async for _ in store.manifest(landing.digest):
            pass
