"""The verifying and the stalling wrapper, around adapters that break the contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

import pytest
from tests.support.faulty import Cut, Fault, Faulty, Flip, Hang, Missing, Raise, Resize
from tests.support.fetching import Heard, WatchedStaging, batch_of, but, failures, landed_keys, outcomes_of
from tests.support.source import SUMMIT, Collection, noise

from librarian_adapters.contract import Batch, Failed, Item, Landed, Outcome, Progress, Staging
from librarian_adapters.streams import closing
from librarian_adapters.testing.memory import Memory
from librarian_adapters.wrappers.least_rate import LeastRate, Paces
from librarian_adapters.wrappers.stalling import StallingAdapter
from librarian_adapters.wrappers.verifying import VerifyingAdapter
from librarian_protocol.errors import (
    ChecksumMismatch,
    LibrarianError,
    NotFound,
    SizeMismatch,
    SourceInvalid,
    SourceMissing,
    SourceUnreachable,
    StoreFault,
    TransferError,
    TransferSlow,
    TransferTimeout,
)

DATA = {f"f{number}": noise(200_000, number) for number in range(4)}
ITEMS = [Collection.item(name, data) for name, data in DATA.items()]
HELD = {SUMMIT: {item.digest: DATA[item.key] for item in ITEMS}}


def faulty(**plan: Fault) -> Faulty:
    return Faulty(HELD, {key: [fault] for key, fault in plan.items()})


class Scripted(Memory):
    """An adapter that says what the script says, whatever it did."""

    def __init__(self, script: Callable[[Batch, Staging], AsyncGenerator[Outcome, None]]) -> None:
        super().__init__({})
        self._script = script

    async def fetch(self, batch: Batch, staging: Staging, progress: Progress) -> AsyncGenerator[Outcome, None]:
        async with closing(self._script(batch, staging)) as outcomes:
            async for outcome in outcomes:
                yield outcome


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Flip(123), ChecksumMismatch),
        (Resize(1), SizeMismatch),
        (Resize(-1), SizeMismatch),
        (Missing(), SourceMissing),
        (Cut(70_000), SourceUnreachable),
        (Raise(StoreFault("input/output error")), StoreFault),
    ],
)
async def test_a_fault_fails_one_item_and_the_next_attempt_brings_it(
    fault: Fault, expected: type[LibrarianError]
) -> None:
    adapter = VerifyingAdapter(faulty(f1=fault))
    staging = WatchedStaging()
    outcomes = await outcomes_of(adapter, batch_of(ITEMS), staging)
    assert {key: type(error) for key, error in failures(outcomes).items()} == {"f1": expected}
    assert landed_keys(outcomes) == {"f0", "f2", "f3"}
    assert await outcomes_of(adapter, batch_of([ITEMS[1]]), staging) == [Landed(ITEMS[1])]
    assert staging.held["f1"] == DATA["f1"]


async def test_what_was_cut_is_kept_and_not_fetched_again() -> None:
    adapter = VerifyingAdapter(faulty(f1=Cut(70_000)))
    staging = WatchedStaging()
    await outcomes_of(adapter, batch_of([ITEMS[1]]), staging)
    assert len(staging.held["f1"]) == 70_000
    heard = Heard()
    await outcomes_of(adapter, batch_of([ITEMS[1]]), staging, heard)
    assert heard.moved_bytes["f1"] == 130_000


async def test_a_mismatch_names_both_values() -> None:
    [flipped] = await outcomes_of(VerifyingAdapter(faulty(f0=Flip(0))), batch_of(ITEMS[:1]), WatchedStaging())
    assert isinstance(flipped, Failed)
    assert flipped.error.message.count("blake3:") == 2
    [short] = await outcomes_of(VerifyingAdapter(faulty(f0=Resize(-5))), batch_of(ITEMS[:1]), WatchedStaging())
    assert isinstance(short, Failed)
    assert "199995 bytes arrived, not 200000" in short.error.message


async def test_an_adapters_own_defect_fails_the_batch_and_says_which() -> None:
    with pytest.raises(TransferError, match="adapter memory failed on batch 1 from site summit: KeyError") as caught:
        await outcomes_of(VerifyingAdapter(faulty(f2=Raise(KeyError("oops")))), batch_of(ITEMS), WatchedStaging())
    assert type(caught.value) is TransferError
    assert isinstance(caught.value.__cause__, KeyError)


async def test_an_error_of_another_kind_is_wrapped() -> None:
    async def script(batch: Batch, staging: Staging) -> AsyncGenerator[Outcome, None]:
        yield Failed(batch.items[0], NotFound("what?"))

    [outcome] = await outcomes_of(VerifyingAdapter(Scripted(script)), batch_of(ITEMS[:1]), WatchedStaging())
    assert isinstance(outcome, Failed)
    assert type(outcome.error) is TransferError


async def test_foreign_repeated_and_forgotten_outcomes_are_sorted_out() -> None:
    foreign = but(ITEMS[3], key="foreign")

    async def script(batch: Batch, staging: Staging) -> AsyncGenerator[Outcome, None]:
        await staging.put([(ITEMS[0], DATA["f0"])])
        for item in (foreign, ITEMS[0], ITEMS[0]):
            yield Landed(item)
        yield Failed(ITEMS[0], SourceMissing("changed my mind"))

    adapter = VerifyingAdapter(Scripted(script))
    outcomes = await outcomes_of(adapter, batch_of(ITEMS[:2]), WatchedStaging())
    assert outcomes[0] == Landed(ITEMS[0])
    assert {key: type(error) for key, error in failures(outcomes).items()} == {"f1": SourceInvalid}
    assert len(outcomes) == 2
    assert adapter.ignored == 3


async def test_landed_without_bytes_is_not_believed() -> None:
    async def script(batch: Batch, staging: Staging) -> AsyncGenerator[Outcome, None]:
        yield Landed(batch.items[0])

    [outcome] = await outcomes_of(VerifyingAdapter(Scripted(script)), batch_of(ITEMS[:1]), WatchedStaging())
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, StoreFault)


async def test_an_items_size_and_digest_are_ours_and_not_the_adapters() -> None:
    async def script(batch: Batch, staging: Staging) -> AsyncGenerator[Outcome, None]:
        wrong = b"short"
        await staging.put([(batch.items[0], wrong)])
        yield Landed(Collection.item(batch.items[0].key, wrong))

    [outcome] = await outcomes_of(VerifyingAdapter(Scripted(script)), batch_of(ITEMS[:1]), WatchedStaging())
    assert isinstance(outcome, Failed)
    assert outcome.item == ITEMS[0]
    assert isinstance(outcome.error, SizeMismatch)


async def test_a_silent_batch_is_given_up_and_its_bytes_kept() -> None:
    staging = WatchedStaging()
    adapter = VerifyingAdapter(StallingAdapter(faulty(f1=Hang(70_000)), stall_s=0.05))
    outcomes: list[Outcome] = []

    async def gather(items: Sequence[Item]) -> None:
        async with closing(adapter.fetch(batch_of(items), staging, Heard())) as stream:
            async for outcome in stream:
                outcomes.append(outcome)

    with pytest.raises(TransferTimeout, match=r"batch 1 from site summit: nothing moved for 0\.05 s"):
        await gather(ITEMS)
    assert landed_keys(outcomes) == {"f0"}
    assert len(staging.held["f1"]) == 70_000


async def test_a_batch_in_which_bytes_move_is_left_alone() -> None:
    class Slow(Memory):
        async def fetch(self, batch: Batch, staging: Staging, progress: Progress) -> AsyncGenerator[Outcome, None]:
            for _ in range(20):
                await asyncio.sleep(0.02)
                progress.moved(batch.items[0], 1)
            yield Landed(batch.items[0])

    heard = Heard()
    assert await outcomes_of(StallingAdapter(Slow({}), stall_s=0.2), batch_of(ITEMS[:1]), WatchedStaging(), heard) == [
        Landed(ITEMS[0])
    ]
    assert heard.moved_bytes["f0"] == 20


async def test_a_reader_that_takes_its_time_is_no_stall() -> None:
    async with closing(
        StallingAdapter(Memory(HELD), stall_s=0.05).fetch(batch_of(ITEMS), WatchedStaging(), Heard())
    ) as all_of:
        async for _ in all_of:
            await asyncio.sleep(0.1)


async def test_a_timeout_of_the_adapters_own_is_not_taken_for_a_stall() -> None:
    adapter = VerifyingAdapter(StallingAdapter(faulty(f0=Raise(TimeoutError("mine"))), stall_s=10))
    with pytest.raises(TransferError, match="TimeoutError: mine"):
        await outcomes_of(adapter, batch_of(ITEMS), WatchedStaging())


async def test_cancellation_passes_through_all_wrappers() -> None:
    adapter = VerifyingAdapter(StallingAdapter(faulty(f0=Hang(1000)), stall_s=60))
    heard = Heard()
    reading = asyncio.create_task(outcomes_of(adapter, batch_of(ITEMS), WatchedStaging(), heard))
    await heard.first.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_a_source_that_is_not_there_fails_the_batch() -> None:
    with pytest.raises(SourceUnreachable):
        await outcomes_of(VerifyingAdapter(Memory({})), batch_of(ITEMS), WatchedStaging())


class Dripping(Memory):
    """One byte every hundredth of a second, without end; then what it has."""

    def __init__(self, bytes_moved: int) -> None:
        super().__init__(HELD)
        self.bytes_moved = bytes_moved

    async def fetch(self, batch: Batch, staging: Staging, progress: Progress) -> AsyncGenerator[Outcome, None]:
        for _ in range(self.bytes_moved):
            await asyncio.sleep(0.01)
            progress.moved(batch.items[0], 1)
        async with closing(super().fetch(batch, staging, progress)) as outcomes:
            async for outcome in outcomes:
                yield outcome


def rated(inner: Memory, paces: Paces) -> LeastRate:
    return LeastRate(StallingAdapter(inner, stall_s=60), paces)


async def test_a_batch_in_which_too_little_moves_is_given_up_and_its_site_is_slow() -> None:
    """It is never silent: each byte puts the patience with silence off again."""
    paces = Paces(min_rate=1000, over_s=0.2)
    with pytest.raises(TransferSlow, match=r"site summit brought .* bytes within 0\.2 s"):
        await outcomes_of(rated(Dripping(300), paces), batch_of(ITEMS[:1]), WatchedStaging(), Heard())
    assert paces.slow() == {"summit"}
    # A quick one makes good.
    await outcomes_of(rated(Memory(HELD), paces), batch_of(ITEMS), WatchedStaging(), Heard())
    assert paces.slow() == frozenset()


async def test_a_batch_that_brings_the_least_rate_is_left_alone() -> None:
    paces = Paces(min_rate=1, over_s=0.05)
    outcomes = await outcomes_of(rated(Dripping(30), paces), batch_of(ITEMS[:1]), WatchedStaging(), Heard())
    assert len(outcomes) == 1
    assert paces.slow() == frozenset()


async def test_without_a_least_rate_a_batch_may_take_for_ever() -> None:
    paces = Paces(min_rate=0, over_s=0.01)
    assert await outcomes_of(rated(Dripping(20), paces), batch_of(ITEMS[:1]), WatchedStaging(), Heard())


async def test_the_time_of_a_reader_does_not_count_as_slowness() -> None:
    paces = Paces(min_rate=1 << 30, over_s=0.05)
    async with closing(rated(Memory(HELD), paces).fetch(batch_of(ITEMS), WatchedStaging(), Heard())) as all_of:
        async for _ in all_of:
            await asyncio.sleep(0.1)
    assert paces.slow() == frozenset()
