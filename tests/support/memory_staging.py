"""The staging area of a memory store: implements :class:`librarian_adapters.contract.Staging`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from tests.support.memory_volume import Inode, Volume

from librarian_adapters.contract import Buffer, Item, Scratch
from librarian_adapters.testing.memory import read_back_each
from librarian_protocol.digests import Digest
from librarian_protocol.errors import StoreError, StoreFault

At = Callable[[str, str], Awaitable[None]]


class MemoryStaging:
    """Keys in a flat space."""

    def __init__(self, answer: Callable[[], Volume], at: At) -> None:
        """``answer`` raises where the store does not; ``at`` as in the store."""
        self._answer = answer
        self._at = at

    async def create(self, item: Item, *, resume: bool = False) -> MemorySink:
        await self._at("stage", item.key)
        staged = self._answer().staged
        if not resume or item.key not in staged or len(staged[item.key].data) > item.size_bytes:
            staged[item.key] = Inode()
        return MemorySink(staged[item.key], item.key, self._answer, self._at)

    async def put(self, items: Sequence[tuple[Item, Buffer]]) -> None:
        for item, data in items:
            await self._at("stage", item.key)
            self._answer().staged[item.key] = Inode(bytes(data))

    async def read_back(self, item: Item) -> tuple[int, Digest]:
        inode = self._answer().staged.get(item.key)
        if inode is None:
            raise StoreFault(f"nothing is staged under {item.key!a}")
        return len(inode.data), Digest.blake3(bytes(inode.data))

    async def read_back_many(self, items: Sequence[Item]) -> Sequence[tuple[int, Digest] | StoreError]:
        await self._at("read-back", "")
        return await read_back_each(self.read_back, items)

    async def discard(self, item: Item) -> None:
        self._answer().discard(item.key)

    async def scratch(self, name: str) -> Scratch:
        raise StoreFault("no program writes into this store", hint="use an adapter that writes to staging itself")


class MemorySink:
    """Appends."""

    def __init__(self, inode: Inode, key: str, answer: Callable[[], Volume], at: At) -> None:
        self._inode: Inode | None = inode
        self._key = key
        self._answer = answer
        self._at = at
        self.offset = len(inode.data)

    async def write(self, data: Buffer) -> None:
        await self._at("write", self._key)
        self._answer()
        if self._inode is None:
            raise StoreFault("the sink is closed already")
        self._inode.data += data

    def fileno(self) -> int | None:
        return None

    async def close(self) -> None:
        """Idempotent."""
        self._inode = None
