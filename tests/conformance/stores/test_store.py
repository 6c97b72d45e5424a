"""What every store does with files: staging, sealing, placing, recovering, checking, giving away; being away."""

from __future__ import annotations

import msgspec
import pytest
from tests.support.store_kinds import Outside
from tests.support.stores import expected, file_item, read, staged, stored

from librarian_daemon.ports.store import Action, Landing, NotPlaced, Placed, SiteStore
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Unit
from librarian_protocol.errors import (
    ChecksumMismatch,
    NameOccupied,
    SizeMismatch,
    SourceMissing,
    StoreError,
    StoreNotMounted,
)

# ---- staging ---------------------------------------------------------------------------------------------


async def test_what_is_written_is_read_back(store: SiteStore) -> None:
    item = file_item("k1", b"hello world")
    sink = await store.staging.create(item)
    assert sink.offset == 0
    await sink.write(b"hello ")
    await sink.write(memoryview(b"world"))
    await sink.close()
    await sink.close()
    assert await store.staging.read_back(item) == (11, Digest.blake3(b"hello world"))


async def test_writing_resumes_behind_what_is_there_and_else_begins_anew(store: SiteStore) -> None:
    item = file_item("k1", b"hello world")
    await store.staging.put([(item, b"hello ")])
    sink = await store.staging.create(item, resume=True)
    assert sink.offset == 6
    await sink.write(b"world")
    await sink.close()
    assert await store.staging.read_back(item) == (11, item.digest)
    sink = await store.staging.create(item)
    await sink.close()
    assert (await store.staging.read_back(item))[0] == 0


async def test_more_than_there_should_be_is_not_resumed(store: SiteStore) -> None:
    item = file_item("k1", b"short")
    await store.staging.put([(item, b"far too long")])
    sink = await store.staging.create(item, resume=True)
    assert sink.offset == 0
    await sink.close()


async def test_a_closed_sink_takes_nothing(store: SiteStore) -> None:
    sink = await store.staging.create(file_item("k1", b"x"))
    await sink.close()
    with pytest.raises(StoreError):
        await sink.write(b"x")
    assert sink.fileno() is None


async def test_discarding_is_idempotent(store: SiteStore) -> None:
    item = file_item("k1", b"x")
    await store.staging.put([(item, b"x")])
    await store.staging.discard(item)
    await store.staging.discard(item)
    with pytest.raises(StoreError):
        await store.staging.read_back(item)


async def test_what_is_staged_is_listed_and_goes_when_it_is_discarded(store: SiteStore) -> None:
    for key in ("keep", "gone", "tree/a/b"):
        await store.staging.put([(file_item(key, b"x"), b"x")])
    assert await store.staged() == {"keep", "gone", "tree"}
    await store.discard(["gone", "tree", "never"])
    assert await store.staged() == {"keep"}
    assert (await store.staging.read_back(file_item("keep", b"x")))[0] == 1


# ---- single files ----------------------------------------------------------------------------------------


async def test_a_sealed_file_comes_to_its_name(store: SiteStore, outside: Outside) -> None:
    landing = await staged(store, "k1", "a/b/c", b"data")
    await stored(store, landing)
    assert outside.read("a/b/c") == b"data"
    assert await read(store, "a/b/c", landing.digest, "file") == b"data"
    check = await store.check(landing.name, landing.digest, Unit.FILE, 4)
    assert (check.error, check.digest, check.size_bytes) == (None, landing.digest, 4)


async def test_a_large_batch_comes_to_its_names_in_order(store: SiteStore) -> None:
    landings = [await staged(store, f"k{n}", f"d{n % 7}/f{n}", b"%d" % n) for n in range(200)]
    sealed = await store.seal(landings)
    assert sealed == landings
    assert await store.place(landings) == [Placed(landing) for landing in landings]


async def test_placing_twice_is_placing_once(store: SiteStore) -> None:
    landing = await staged(store, "k1", "x", b"data")
    await stored(store, landing)
    assert await store.place([landing]) == [Placed(landing)]
    assert await store.recover(landing) == Placed(landing)


async def test_nothing_is_ever_overwritten(store: SiteStore, outside: Outside) -> None:
    outside.put("x", b"whose?")
    landing = await staged(store, "k1", "x", b"mine!!")
    good = await staged(store, "k2", "y", b"good")
    await store.seal([landing, good])
    bad, placed = await store.place([landing, good])
    assert isinstance(bad, NotPlaced)
    assert isinstance(bad.error, NameOccupied)
    assert isinstance(placed, Placed)
    assert outside.read("x") == b"whose?"
    assert (await store.staging.read_back(file_item("k1", b"mine!!")))[1] == landing.digest
    assert isinstance(await store.recover(landing), NotPlaced)


async def test_a_directory_or_a_file_in_the_way_is_not_overwritten(store: SiteStore, outside: Outside) -> None:
    outside.put("x/y/file", b"file")
    outside.put("z", b"file")
    for name in ("x/y", "z/below"):
        landing = await staged(store, "k1", name, b"data")
        await store.seal([landing])
        (outcome,) = await store.place([landing])
        assert isinstance(outcome, NotPlaced)
        assert isinstance(outcome.error, NameOccupied)


async def test_the_same_bytes_at_the_name_already_count_as_placed(store: SiteStore, outside: Outside) -> None:
    outside.put("x", b"data")
    landing = await staged(store, "k1", "x", b"data")
    await store.seal([landing])
    assert await store.place([landing]) == [Placed(landing)]
    assert outside.read("x") == b"data"
    assert await store.staged() == frozenset()


async def test_bytes_that_are_nowhere_are_not_placed(store: SiteStore) -> None:
    landing = await staged(store, "k1", "x", b"data")
    await store.staging.discard(file_item("k1", b"data"))
    for outcome in (*await store.seal([landing]), *await store.place([landing]), await store.recover(landing)):
        assert isinstance(outcome, NotPlaced)
        assert isinstance(outcome.error, SourceMissing)


async def test_a_file_of_another_size_is_not_sealed(store: SiteStore) -> None:
    landing = await staged(store, "k1", "x", b"data")
    await store.staging.put([(file_item("k1", b"data"), b"dat")])
    (outcome,) = await store.seal([landing])
    assert isinstance(outcome, NotPlaced)
    assert isinstance(outcome.error, SizeMismatch)


async def test_recovering_reads_the_bytes_again(store: SiteStore, outside: Outside) -> None:
    landing = await staged(store, "k1", "x", b"data")
    await store.staging.put([(file_item("k1", b"data"), b"rot!")])
    outcome = await store.recover(landing)
    assert isinstance(outcome, NotPlaced)
    assert isinstance(outcome.error, ChecksumMismatch)
    assert outside.read("x") is None
    await store.staging.put([(file_item("k1", b"data"), b"data")])
    assert await store.recover(landing) == Placed(landing)


async def test_checking_finds_what_is_wrong(store: SiteStore, outside: Outside) -> None:
    landing = await staged(store, "k1", "x", b"data")
    check = await store.check(landing.name, landing.digest, Unit.FILE, 4)
    assert isinstance(check.error, SourceMissing)
    await stored(store, landing)
    outside.put("x", b"dbta")
    check = await store.check(landing.name, landing.digest, Unit.FILE, 4)
    assert isinstance(check.error, ChecksumMismatch)
    assert check.digest == Digest.blake3(b"dbta")
    outside.put("x", b"longer")
    check = await store.check(landing.name, landing.digest, Unit.FILE, 4)
    assert isinstance(check.error, SizeMismatch)
    assert check.size_bytes == 6


async def test_what_is_not_there_cannot_be_opened(store: SiteStore, outside: Outside) -> None:
    digest = Digest.blake3(b"")
    for part, member in (("file", None), ("manifest", None), ("member", "m"), ("file", None)):
        with pytest.raises(SourceMissing):
            await read(store, "x", digest, part, member)
    outside.put("dir/file", b"")
    with pytest.raises(SourceMissing):
        await read(store, "dir", digest, "file")


async def test_space_is_told(store: SiteStore) -> None:
    """Every store can say how much room it has, in bytes."""
    space = await store.space()
    assert 0 < space.free_bytes <= space.total_bytes


async def test_looking_compares_sizes_and_reads_no_byte(store: SiteStore, outside: Outside) -> None:
    landing = await staged(store, "k1", "a/x", b"data")
    (lost,) = await store.look([expected(landing)])
    assert isinstance(lost.error, SourceMissing)
    await stored(store, landing)
    (right,) = await store.look([expected(landing)])
    assert (right.error, right.extra.count) == (None, 0)
    outside.put("a/x", b"dbta")
    (same,) = await store.look([expected(landing)])
    assert same.error is None
    outside.put("a/x", b"longer")
    (wrong, other) = await store.look([expected(landing), expected(landing)])
    assert isinstance(wrong.error, SizeMismatch)
    assert isinstance(other.error, SizeMismatch)


async def test_good_bytes_are_placed_though_the_catalog_says_that_bad_ones_stand_there(store: SiteStore) -> None:
    """A healing of what is lost, or right already, needs no place for bad bytes: every store does it."""
    for key in ("k1", "k2"):
        landing = msgspec.structs.replace(await staged(store, key, "x", b"good"), action=Action.HEAL)
        await stored(store, landing)


# ---- journal's head, health ------------------------------------------------------------------------------


async def test_a_store_witnesses_the_head_that_it_was_told_last(store: SiteStore) -> None:
    assert not await store.read_head()
    for text in ("one", "two", "two"):
        await store.write_head(text)
        assert await store.read_head() == text


async def test_a_store_that_is_well_is_probed_without_a_trace(store: SiteStore) -> None:
    before = await store.staged()
    space = store.probe()
    assert 0 < space.free_bytes <= store.measure().total_bytes
    assert await store.staged() == before


# ---- away, withheld --------------------------------------------------------------------------------------


async def test_a_store_that_is_away_says_so_and_nothing_else(store: SiteStore, outside: Outside) -> None:
    landing = await staged(store, "k1", "x", b"data")
    await stored(store, landing)
    later = await staged(store, "k2", "y", b"later")
    outside.go_away()
    await says_that_it_is_not_mounted(store, landing, later)
    with pytest.raises(StoreNotMounted):
        store.probe()
    outside.come_back()
    await stored(store, later)


async def test_a_withheld_store_does_nothing_before_its_twin_has_finished(store: SiteStore) -> None:
    landing = await staged(store, "k1", "x", b"data")
    await stored(store, landing)
    later = await staged(store, "k2", "y", b"later")
    store.withhold("a crash left something")
    before = store.withheld
    await says_that_it_is_not_mounted(store, landing, later)
    twin = store.twin()
    assert (twin.id, twin.label, twin.withheld) == (store.id, store.label, False)
    await twin.open()
    assert await twin.recover(later) == Placed(later)
    twin.close()
    await store.admit()
    assert (before, store.withheld) == (True, False)
    assert await read(store, "y", later.digest, "file") == b"later"


async def test_a_store_that_is_still_away_is_not_admitted(store: SiteStore, outside: Outside) -> None:
    store.withhold("it was not there")
    outside.go_away()
    with pytest.raises(StoreNotMounted):
        await store.admit()
    assert store.withheld
    outside.come_back()
    await store.admit()


async def says_that_it_is_not_mounted(store: SiteStore, placed: Landing, later: Landing) -> None:
    with pytest.raises(StoreNotMounted):
        await store.open()
    with pytest.raises(StoreNotMounted):
        await read(store, "x", placed.digest, "file")
    with pytest.raises(StoreNotMounted):
        await store.staging.create(file_item("k3", b""))
    with pytest.raises(StoreNotMounted):
        await store.staged()
    with pytest.raises(StoreNotMounted):
        await store.space()
    with pytest.raises(StoreNotMounted):
        await store.look([expected(placed)])
    with pytest.raises(StoreNotMounted):
        await store.read_head()
    with pytest.raises(StoreNotMounted):
        await store.write_head("head")
    check = await store.check(placed.name, placed.digest, Unit.FILE, 4)
    assert isinstance(check.error, StoreNotMounted)
    for outcome in (*await store.seal([later]), *await store.place([later]), await store.recover(later)):
        assert isinstance(outcome, NotPlaced)
        assert isinstance(outcome.error, StoreNotMounted)
