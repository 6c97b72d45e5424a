"""What a store does that can keep bytes that leave their name. Nothing is deleted, and nothing is overwritten."""

from __future__ import annotations

import msgspec
import pytest
from tests.support.store_kinds import Outside
from tests.support.stores import staged, staged_book, stored

from librarian_daemon.ports.store import Action, NotPlaced, Placed, SiteStore
from librarian_daemon.ports.store_capabilities import Keeping
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Unit
from librarian_protocol.errors import NameOccupied, SourceMissing
from librarian_protocol.names import Name


async def test_what_is_set_aside_gets_its_name_back(store: SiteStore, keeping: Keeping, outside: Outside) -> None:
    landing = await staged(store, "k1", "a/x", b"data")
    await stored(store, landing)
    assert not await keeping.is_aside(landing.digest)
    for _ in range(2):
        await keeping.set_aside(landing.name, landing.digest)
        assert await keeping.is_aside(landing.digest)
        assert outside.read("a/x") is None
    for _ in range(2):
        await keeping.bring_back(landing.name, landing.digest)
        assert not await keeping.is_aside(landing.digest)
        assert outside.read("a/x") == b"data"


async def test_a_book_is_set_aside_whole(store: SiteStore, keeping: Keeping) -> None:
    book = await staged_book(store, "k1", "book", {"a/x": b"x", "b": b""}, ["empty"])
    await stored(store, book)
    await keeping.set_aside(book.name, book.digest)
    assert isinstance((await store.check(book.name, book.digest, Unit.BOOK, book.size_bytes)).error, SourceMissing)
    await keeping.bring_back(book.name, book.digest)
    assert (await store.check(book.name, book.digest, Unit.BOOK, book.size_bytes)).error is None


async def test_the_name_of_what_is_aside_is_free_and_is_not_taken_back(
    store: SiteStore, keeping: Keeping, outside: Outside
) -> None:
    loser = await staged(store, "k1", "x", b"loser")
    await stored(store, loser)
    await keeping.set_aside(loser.name, loser.digest)
    await stored(store, await staged(store, "k2", "x", b"winner"))
    with pytest.raises(NameOccupied):
        await keeping.bring_back(loser.name, loser.digest)
    assert outside.read("x") == b"winner"
    assert await keeping.is_aside(loser.digest)


async def test_what_is_nowhere_is_neither_set_aside_nor_brought_back(store: SiteStore, keeping: Keeping) -> None:
    digest = Digest.blake3(b"never")
    with pytest.raises(SourceMissing):
        await keeping.set_aside(Name("x"), digest)
    with pytest.raises(SourceMissing):
        await keeping.bring_back(Name("x"), digest)


@pytest.mark.parametrize("aside", [False, True])
async def test_what_leaves_for_good_is_kept_once_and_over_nothing(
    store: SiteStore, keeping: Keeping, outside: Outside, aside: bool
) -> None:
    places: list[str] = []
    for number in (1, 2):
        landing = await staged(store, f"k{number}", f"raw/{number}", b"good")
        await stored(store, landing)
        if aside:
            await keeping.set_aside(landing.name, landing.digest)
        place = await keeping.free_place(landing.digest, withdrawn=True)
        for _ in range(2):
            assert await keeping.move_away(landing.name, landing.digest, place, aside=aside)
        assert outside.read(landing.name) is None
        places.append(place)
    assert len(set(places)) == 2
    assert [outside.read(place) for place in places] == [b"good", b"good"]


async def test_where_nothing_stands_nothing_leaves(keeping: Keeping) -> None:
    digest = Digest.blake3(b"never")
    place = await keeping.free_place(digest, withdrawn=False)
    assert not await keeping.move_away(Name("x"), digest, place, aside=False)


async def test_good_bytes_take_the_place_of_bad_ones_which_are_kept(
    store: SiteStore, keeping: Keeping, outside: Outside
) -> None:
    landing = msgspec.structs.replace(await staged(store, "k1", "raw/a", b"good"), action=Action.HEAL)
    outside.put("raw/a", b"evil")
    place = await keeping.free_place(landing.digest, withdrawn=False)
    await stored(store, landing)
    assert outside.read("raw/a") == b"good"
    assert outside.read(place) == b"evil"


async def test_a_healing_that_was_interrupted_is_finished(store: SiteStore, keeping: Keeping, outside: Outside) -> None:
    """Before the bad bytes left the name, and after it was done."""
    landing = msgspec.structs.replace(await staged(store, "k1", "raw/a", b"good"), action=Action.HEAL)
    outside.put("raw/a", b"evil")
    assert await keeping.free_place(landing.digest, withdrawn=False)
    assert await store.recover(landing) == Placed(landing)
    assert await store.recover(landing) == Placed(landing)
    assert outside.read("raw/a") == b"good"


async def test_without_the_word_of_the_catalog_nothing_leaves_its_name(store: SiteStore, outside: Outside) -> None:
    """Nor in a store that can keep nothing, whatever the catalog says."""
    actions = [Action.PLACE, *([] if store.can.keeping else [Action.HEAL])]
    for action in actions:
        landing = msgspec.structs.replace(await staged(store, action.value, "raw/a", b"good"), action=action)
        outside.put("raw/a", b"evil")
        await store.seal([landing])
        (outcome,) = await store.place([landing])
        assert isinstance(outcome, NotPlaced)
        assert isinstance(outcome.error, NameOccupied)
        assert outside.read("raw/a") == b"evil"
