"""What a store does that has a trash: bytes leave their names, wait under a list, and come back or end."""

from __future__ import annotations

import pytest
from tests.support.store_kinds import Outside
from tests.support.stores import staged, staged_book, stored

from librarian_daemon.ports.store import Landing, SiteStore
from librarian_daemon.ports.store_capabilities import InTrash, Trash, aside_place, trash_place
from librarian_protocol.entries import Unit
from librarian_protocol.errors import SourceMissing
from librarian_protocol.names import Name

N1, N2 = "1a" * 16, "2b" * 16


@pytest.fixture
def trash(store: SiteStore) -> Trash:
    if store.can.trash is None:
        pytest.skip("it has no trash")
    return store.can.trash


def entry(landing: Landing, number: int = 0) -> InTrash:
    return InTrash(
        number=number,
        name=landing.name,
        digest=landing.digest,
        unit=landing.unit,
        size_bytes=landing.size_bytes,
    )


async def two(store: SiteStore) -> list[InTrash]:
    """A file and a book, at their names."""
    file = await staged(store, "k1", "a/x", b"data")
    book = await staged_book(store, "k2", "book", {"c/x": b"x", "b": b""}, ["empty"])
    await stored(store, file)
    await stored(store, book)
    return [entry(file, 3), entry(book, 7)]


async def is_right(store: SiteStore, file: InTrash, place: Name) -> bool:
    return (await store.check(place, file.digest, file.unit, file.size_bytes)).error is None


async def test_files_and_books_go_to_trash_are_listed_and_read_there_and_come_back(
    store: SiteStore, trash: Trash
) -> None:
    files = await two(store)
    assert await trash.put(N1, files) == [None, None]
    assert dict(await trash.lists()) == {N1: files}
    for file in files:
        place = trash_place(N1, file.number)
        assert not await is_right(store, file, file.name)
        assert await is_right(store, file, place)
    reader = await store.open_part(trash_place(N1, 3), files[0].digest, "file", None)
    assert await reader.read(0, 10) == b"data"
    reader.close()
    for file in files:
        assert await trash.bring_back(N1, file, aside=False)
        assert await is_right(store, file, file.name)
        assert not await trash.bring_back(N1, file, aside=False), "it is not in trash any more"
    assert dict(await trash.lists()) == {}


async def test_what_is_emptied_is_gone_and_the_rest_stays(store: SiteStore, trash: Trash) -> None:
    file, book = await two(store)
    await trash.put(N1, [file, book])
    for _ in range(2):
        await trash.empty(N1, [book])
        assert dict(await trash.lists()) == {N1: [file]}
    for _ in range(2):
        await trash.empty(N1, [file])
        assert dict(await trash.lists()) == {}
    await trash.empty(N2, [file])


async def test_what_is_not_at_its_name_is_said_so_and_the_others_go(store: SiteStore, trash: Trash) -> None:
    file, _ = await two(store)
    missing = InTrash(number=0, name=Name("a/none"), digest=file.digest, unit=Unit.FILE, size_bytes=4)
    first, second = await trash.put(N1, [missing, file])
    assert isinstance(first, SourceMissing)
    assert second is None
    assert dict(await trash.lists()) == {N1: [file]}


async def test_what_comes_back_never_overwrites(store: SiteStore, trash: Trash, outside: Outside) -> None:
    file, _ = await two(store)
    await trash.put(N1, [file])
    outside.put("a/x", b"another")
    assert not await trash.bring_back(N1, file, aside=False)
    assert outside.read("a/x") == b"another"
    assert dict(await trash.lists()) == {N1: [file]}
    assert await trash.bring_back(N1, file, aside=True)
    assert await is_right(store, file, aside_place(file.digest))
    assert store.can.keeping is not None
    assert await store.can.keeping.is_aside(file.digest)


async def test_two_attempts_have_directories_of_their_own(store: SiteStore, trash: Trash) -> None:
    file, book = await two(store)
    await trash.put(N1, [file])
    await trash.put(N2, [book])
    assert dict(await trash.lists()) == {N1: [file], N2: [book]}
    assert await trash.bring_back(N2, book, aside=False)
    await trash.empty(N1, [file])
    assert dict(await trash.lists()) == {}
