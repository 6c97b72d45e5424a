"""Asking an adapter for a batch, and seeing what it does."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import msgspec
from tests.support.source import STORE, SUMMIT

from librarian_adapters.contract import Adapter, Batch, Buffer, Failed, Item, Landed, Outcome, Staging
from librarian_adapters.streams import closing
from librarian_adapters.testing.memory import MemorySink, MemoryStaging
from librarian_protocol.entries import AdapterOffer, Dial


def batch_of(
    items: Sequence[Item],
    address: str = "",
    name: str = "any",
    store: str = STORE,
    dial: Dial = Dial.DESTINATION,
) -> Batch:
    """A batch from summit."""
    offer = AdapterOffer(name=name, version=1, address=address, dial=dial)
    return Batch(id="1", source=SUMMIT, store=store, offer=offer, items=items)


class Heard:
    """A :class:`librarian_adapters.contract.Progress`."""

    def __init__(self) -> None:
        #: Bytes moved, by the item's key.
        self.moved_bytes: Counter[str] = Counter()
        self.first = asyncio.Event()
        self.tickets: list[bytes] = []

    def moved(self, item: Item, size_bytes: int) -> None:
        self.moved_bytes[item.key] += size_bytes
        self.first.set()

    async def save_ticket(self, ticket: bytes) -> None:
        self.tickets.append(ticket)


class WatchedStaging(MemoryStaging):
    """Staging that remembers how it was used, and complains when it is written to after the end."""

    def __init__(self) -> None:
        super().__init__()
        self.over = False
        self.late = 0
        self.puts: list[int] = []
        self.largest_write = 0

    async def create(self, item: Item, *, resume: bool = False) -> MemorySink:
        self.late += self.over
        await super().create(item, resume=resume)
        return _WatchedSink(self, self.held[item.key])

    async def put(self, items: Sequence[tuple[Item, Buffer]]) -> None:
        self.late += self.over
        self.puts.append(len(items))
        await super().put(items)


class _WatchedSink(MemorySink):
    def __init__(self, staging: WatchedStaging, held: bytearray) -> None:
        super().__init__(held)
        self._staging = staging

    async def write(self, data: Buffer) -> None:
        self._staging.late += self._staging.over
        self._staging.largest_write = max(self._staging.largest_write, len(data))
        await super().write(data)


async def outcomes_of(adapter: Adapter, batch: Batch, staging: Staging, progress: Heard | None = None) -> list[Outcome]:
    """All outcomes."""
    async with closing(adapter.fetch(batch, staging, progress or Heard())) as outcomes:
        return [outcome async for outcome in outcomes]


def landed_keys(outcomes: Sequence[Outcome]) -> set[str]:
    """Keys of what landed."""
    return {outcome.item.key for outcome in outcomes if isinstance(outcome, Landed)}


def failures(outcomes: Sequence[Outcome]) -> dict[str, Exception]:
    """Errors of what failed, by key."""
    return {outcome.item.key: outcome.error for outcome in outcomes if isinstance(outcome, Failed)}


def but(item: Item, **changes: object) -> Item:
    """The item, changed."""
    return msgspec.structs.replace(item, **changes)
