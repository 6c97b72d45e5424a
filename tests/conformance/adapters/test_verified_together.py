"""What landed is read back many at a time, over every staging area, and each item keeps an outcome of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from tests.support.fetching import Heard, batch_of, failures, landed_keys, outcomes_of
from tests.support.source import SUMMIT, Collection
from tests.support.stores import posix

from librarian_adapters.contract import Batch, Landed, Outcome, Progress, Staging
from librarian_adapters.streams import closing
from librarian_adapters.testing.memory import Memory, MemoryStaging
from librarian_adapters.wrappers.verifying import VerifyingAdapter
from librarian_protocol.errors import ChecksumMismatch, SizeMismatch, SourceUnreachable, StoreFault

DATA = {f"f{number}": b"%d" % number for number in range(1000)}
ITEMS = [Collection.item(name, data) for name, data in DATA.items()]


@pytest.fixture(params=["memory", "posix"])
def staging(request: pytest.FixtureRequest, tmp_path: Path) -> Staging:
    return MemoryStaging() if request.param == "memory" else posix(tmp_path).staging


class AtOnce(Memory):
    """Puts everything at once, but for what it is told, and then says that all has landed."""

    def __init__(self, **instead: bytes | None) -> None:
        super().__init__({SUMMIT: {}})
        self.instead = instead
        self.ended = False

    async def fetch(self, batch: Batch, staging: Staging, progress: Progress) -> AsyncGenerator[Outcome, None]:
        try:
            brought = [(item, self.instead.get(item.key, DATA[item.key])) for item in batch.items]
            await staging.put([(item, data) for item, data in brought if data is not None])
            for item in batch.items:
                yield Landed(item)
            if self.instead.get("f0") == b"!":
                raise SourceUnreachable("broke")
        finally:
            await asyncio.sleep(0)
            self.ended = True


async def test_each_item_is_read_back_and_in_order(staging: Staging) -> None:
    await staging.put([(item, DATA[item.key]) for item in ITEMS[1:3]])
    missing, *found = await staging.read_back_many(ITEMS[:3])
    assert isinstance(missing, StoreFault)
    assert found == [(item.size_bytes, item.digest) for item in ITEMS[1:3]]
    assert list(await staging.read_back_many([])) == []


async def test_one_of_many_is_wrong_and_the_others_land(staging: Staging) -> None:
    adapter = AtOnce(f5=b"6", f600=None, f999=b"longer")
    outcomes = await outcomes_of(VerifyingAdapter(adapter), batch_of(ITEMS), staging)
    wrong = {"f5": ChecksumMismatch, "f600": StoreFault, "f999": SizeMismatch}
    assert len(outcomes) == len(ITEMS)
    assert {key: type(error) for key, error in failures(outcomes).items()} == wrong
    assert landed_keys(outcomes) == DATA.keys() - wrong.keys()
    discarded = await staging.read_back_many([ITEMS[5], ITEMS[999]])
    assert [type(error) for error in discarded] == [StoreFault, StoreFault]


async def test_what_landed_before_the_batch_failed_is_told_first(staging: Staging) -> None:
    outcomes: list[Outcome] = []

    async def gather() -> None:
        async with closing(VerifyingAdapter(AtOnce(f0=b"!")).fetch(batch_of(ITEMS), staging, Heard())) as stream:
            async for outcome in stream:
                outcomes.append(outcome)

    with pytest.raises(SourceUnreachable, match="broke"):
        await gather()
    assert len(outcomes) == len(ITEMS)


async def test_closing_the_outcomes_ends_the_adapter(staging: Staging) -> None:
    adapter = AtOnce()
    async with closing(VerifyingAdapter(adapter).fetch(batch_of(ITEMS), staging, Heard())) as stream:
        assert await anext(stream) == Landed(ITEMS[0])
        assert not adapter.ended
    assert adapter.ended
