"""What :mod:`librarian_adapters.contract` asks of every adapter."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from tests.conformance.adapters.conftest import Rig
from tests.support.fetching import Heard, WatchedStaging, failures, landed_keys, outcomes_of
from tests.support.source import noise

from librarian_adapters.contract import Adapter, Batch, Failed, Landed
from librarian_adapters.streams import closing
from librarian_adapters.wrappers.verifying import VerifyingAdapter
from librarian_protocol.digests import Digest
from librarian_protocol.errors import ChecksumMismatch, SizeMismatch, SourceMissing

ODD_NAMES = [
    "plain",
    "with blank/and  two",
    "quotes'\"`",
    "emoji-🔭",
    "%41.dat",
    "a#b?c&d=e+f;g",
    "back\\slash",
    "-rf",
    ".hidden",
    "x" * 255,
    "é" * 127,
    "/".join(["d" * 100] * 9),
]
LARGE = noise(5 << 20)


async def test_a_single_file_lands_with_its_bytes(rig: Rig) -> None:
    item = rig.collection.add("raw/one.dat", b"some bytes")
    rig.sound([item])
    staging = WatchedStaging()
    heard = Heard()
    assert await outcomes_of(rig.adapter, rig.batch([item]), staging, heard) == [Landed(item)]
    assert staging.held == {item.key: b"some bytes"}
    assert heard.moved_bytes[item.key] == 10


async def test_an_empty_file_lands(rig: Rig) -> None:
    item = rig.collection.add("empty", b"")
    rig.sound([item])
    staging = WatchedStaging()
    assert await outcomes_of(VerifyingAdapter(rig.adapter), rig.batch([item]), staging) == [Landed(item)]
    assert staging.held == {item.key: b""}


async def test_an_empty_batch_ends_at_once(rig: Rig) -> None:
    assert await outcomes_of(rig.adapter, rig.batch([]), WatchedStaging()) == []


async def test_a_thousand_small_files_land_each_with_one_outcome(rig: Rig) -> None:
    items = [rig.collection.add(f"small/{number}", noise(number, number)) for number in range(1000)]
    rig.sound(items)
    staging = WatchedStaging()
    outcomes = await outcomes_of(VerifyingAdapter(rig.adapter), rig.batch(items), staging)
    assert len(outcomes) == 1000
    assert landed_keys(outcomes) == {item.key for item in items}
    assert all(len(staging.held[item.key]) == item.size_bytes for item in items)


async def test_a_large_file_lands_in_bounded_pieces(rig: Rig) -> None:
    item = rig.collection.add("raw/large.dat", LARGE)
    rig.sound([item])
    staging = WatchedStaging()
    heard = Heard()
    assert await outcomes_of(VerifyingAdapter(rig.adapter), rig.batch([item]), staging, heard) == [Landed(item)]
    assert heard.moved_bytes[item.key] == len(LARGE)
    assert staging.largest_write <= 4 << 20


async def test_any_name_and_any_member_path_lands(rig: Rig) -> None:
    items = [rig.collection.add(f"odd/{name}", name.encode()) for name in ODD_NAMES]
    items += rig.collection.add_book("the book", {name: name.encode() * 2 for name in ODD_NAMES})
    items.append(rig.collection.add("large % ?.dat", LARGE))
    items += rig.collection.add_book("large #?", {"%2e%2e/m?&=+ .dat": LARGE[1:]})
    rig.sound(items)
    outcomes = await outcomes_of(VerifyingAdapter(rig.adapter), rig.batch(items), WatchedStaging())
    assert failures(outcomes) == {}
    assert len(outcomes) == len(items)


async def test_a_book_of_the_longest_paths_lands(rig: Rig) -> None:
    if rig.whole:
        pytest.skip("the program behind the stand-in takes such paths only one by one: minutes")
    members = {"/".join([str(number).rjust(255, '"')] * 4): b"%d" % number for number in range(700)}
    items = rig.collection.add_book("book", members)
    rig.sound(items)
    outcomes = await outcomes_of(VerifyingAdapter(rig.adapter), rig.batch(items), WatchedStaging())
    assert failures(outcomes) == {}
    assert len(outcomes) == 701


async def test_a_manifest_smaller_than_its_limit_lands(rig: Rig) -> None:
    manifest, *_ = items = rig.collection.add_book("book", {"a": b"1", "b/c": b"22"})
    rig.sound(items)
    staging = WatchedStaging()
    assert await outcomes_of(VerifyingAdapter(rig.adapter), rig.batch([manifest]), staging) == [Landed(manifest)]
    assert Digest.blake3(bytes(staging.held[manifest.key])) == manifest.digest


async def test_a_list_of_attributes_lands_and_nobody_is_suspected_for_one_that_is_missing(rig: Rig) -> None:
    """Its size was announced by nobody; there may be several of one book, and none."""
    manifest, *members = rig.collection.add_book("book", {"a": b"1", "b/c": b"22"})
    found, other, missing = (rig.collection.add_list(manifest, text) for text in (b"one\n", b"two\n", b"three\n"))
    other = msgspec.structs.replace(other, key="other-attributes")
    missing = msgspec.structs.replace(missing, key="missing-attributes")
    items = [manifest, *members, found, other, missing]
    rig.sound(items)
    rig.collection.path(missing).unlink()
    staging = WatchedStaging()
    outcomes = await outcomes_of(VerifyingAdapter(rig.adapter), rig.batch(items), staging)
    assert landed_keys(outcomes) >= {item.key for item in items} - {missing.key}
    assert [bytes(staging.held[item.key]) for item in (found, other)] == [b"one\n", b"two\n"]
    assert rig.collection.suspected == []


@pytest.mark.parametrize("have", [1, 2 << 20, len(LARGE) - 1, len(LARGE)])
async def test_a_large_file_is_resumed_from_what_is_staged(rig: Rig, have: int) -> None:
    item = rig.collection.add("large", LARGE)
    rig.sound([item])
    staging = WatchedStaging()
    staging.held[item.key] = bytearray(LARGE[:have])
    heard = Heard()
    assert await outcomes_of(VerifyingAdapter(rig.adapter), rig.batch([item]), staging, heard) == [Landed(item)]
    assert rig.mends or heard.moved_bytes[item.key] == len(LARGE) - have


async def test_more_staged_bytes_than_the_file_has_are_thrown_away(rig: Rig) -> None:
    item = rig.collection.add("large", LARGE)
    rig.sound([item])
    staging = WatchedStaging()
    staging.held[item.key] = bytearray(LARGE + b"x")
    outcomes = await outcomes_of(VerifyingAdapter(rig.adapter), rig.batch([item]), staging)
    outcomes += await outcomes_of(VerifyingAdapter(rig.adapter), rig.batch([item]), staging)
    assert outcomes[-1] == Landed(item)
    assert staging.held[item.key] == LARGE


async def test_a_resumed_file_whose_beginning_is_wrong_is_caught_and_thrown_away(rig: Rig) -> None:
    item = rig.collection.add("large", LARGE)
    rig.sound([item])
    staging = WatchedStaging()
    staging.held[item.key] = bytearray(b"?" * (1 << 20))
    [outcome] = await outcomes_of(VerifyingAdapter(rig.adapter), rig.batch([item]), staging)
    if rig.mends:
        assert outcome == Landed(item)
        assert staging.held[item.key] == LARGE
        return
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, ChecksumMismatch)
    assert item.digest in outcome.error.message
    assert staging.held == {}
    assert await outcomes_of(VerifyingAdapter(rig.adapter), rig.batch([item]), staging) == [Landed(item)]


async def test_what_is_missing_at_the_source_fails_alone(rig: Rig) -> None:
    items = [rig.collection.add(f"f{number}", noise(size, number)) for number, size in enumerate([9, 9, 2 << 20])]
    book = rig.collection.add_book("book", {"a": b"1", "b": b"2"})
    gone = [items[1], rig.collection.add("large gone", noise(3 << 20, 9)), book[1]]
    everything = [*items, *book, gone[1]]
    rig.sound(everything)
    for item in gone:
        rig.spoil(item, None)
    outcomes = await outcomes_of(VerifyingAdapter(rig.adapter), rig.batch(everything), WatchedStaging())
    assert len(outcomes) == len(everything)
    failed = failures(outcomes)
    assert set(failed) == {item.key for item in gone}
    assert all(isinstance(error, SourceMissing) for error in failed.values())


@pytest.mark.parametrize("size_bytes", [100, 3 << 20])
async def test_a_flipped_bit_is_caught(rig: Rig, size_bytes: int) -> None:
    data = noise(size_bytes)
    spoilt = rig.collection.add("spoilt", data)
    good = rig.collection.add("good", noise(size_bytes, 1))
    rig.sound([spoilt, good])
    rig.spoil(spoilt, data[:50] + bytes([data[50] ^ 4]) + data[51:])
    staging = WatchedStaging()
    outcomes = await outcomes_of(VerifyingAdapter(rig.adapter), rig.batch([spoilt, good]), staging)
    assert landed_keys(outcomes) == {good.key}
    assert isinstance(failures(outcomes)[spoilt.key], ChecksumMismatch)
    assert set(staging.held) == {good.key}


@pytest.mark.parametrize("size_bytes", [100, 3 << 20])
@pytest.mark.parametrize("by", [-1, 1])
async def test_a_wrong_size_fails_that_item_only(rig: Rig, size_bytes: int, by: int) -> None:
    spoilt = rig.collection.add_book("book", {"m": noise(size_bytes)})[1]
    good = rig.collection.add("good", noise(size_bytes, 1))
    rig.sound([spoilt, good])
    rig.spoil(spoilt, noise(size_bytes + by))
    outcomes = await outcomes_of(VerifyingAdapter(rig.adapter), rig.batch([spoilt, good]), WatchedStaging())
    assert landed_keys(outcomes) == {good.key}
    assert isinstance(failures(outcomes)[spoilt.key], SizeMismatch)


async def test_after_cancellation_nothing_more_is_written(rig: Rig) -> None:
    items = [rig.collection.add(f"large{number}", noise(8 << 20, number)) for number in range(3)]
    items += [rig.collection.add(f"small{number}", noise(1000, number)) for number in range(100)]
    rig.sound(items)
    staging = WatchedStaging()
    heard = Heard()
    reading = asyncio.create_task(outcomes_of(VerifyingAdapter(rig.adapter), rig.batch(items), staging, heard))
    await heard.first.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    staging.over = True
    await rig.adapter.close()
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("http batch")] == []
    assert staging.late == 0


async def test_a_reader_that_stops_early_stops_the_adapter(rig: Rig) -> None:
    items = [rig.collection.add(f"large{number}", noise(4 << 20, number)) for number in range(3)]
    rig.sound(items)
    staging = WatchedStaging()
    async with closing(rig.adapter.fetch(rig.batch(items), staging, Heard())) as outcomes:
        await anext(outcomes)
    staging.over = True
    await rig.adapter.close()
    assert staging.late == 0


async def test_two_batches_run_side_by_side(rig: Rig) -> None:
    first = [rig.collection.add(f"a{number}", noise(number * 1000, number)) for number in range(50)]
    second = [rig.collection.add(f"b{number}", noise(2 << 20, number + 50)) for number in range(4)]
    rig.sound([*first, *second])
    done = await asyncio.gather(
        outcomes_of(VerifyingAdapter(rig.adapter), rig.batch(first), WatchedStaging()),
        outcomes_of(VerifyingAdapter(rig.adapter), rig.batch(second), WatchedStaging()),
    )
    assert [len(landed_keys(outcomes)) for outcomes in done] == [50, 4]


async def test_closing_twice_does_no_harm(rig: Rig) -> None:
    await rig.adapter.close()
    await rig.adapter.close()


def test_adapters_are_what_the_contract_says(rig: Rig) -> None:
    adapter: Adapter = rig.adapter
    batch: Batch = rig.batch([])
    assert adapter.capabilities.max_files >= 1000
    assert adapter.version >= 1
    assert batch.items == []
