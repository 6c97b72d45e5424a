"""A staging area and adapters that live in memory: for tests, and for the simulator."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import msgspec
from blake3 import blake3

from librarian_adapters.contract import (
    Batch,
    Buffer,
    Capabilities,
    Failed,
    Item,
    Landed,
    Outcome,
    Part,
    Progress,
    Staging,
)
from librarian_protocol.digests import Digest
from librarian_protocol.entries import AdapterOffer, Dial
from librarian_protocol.errors import (
    SizeMismatch,
    SourceInvalid,
    SourceMissing,
    SourceUnreachable,
    StoreError,
    StoreFault,
    TransferError,
)
from librarian_protocol.names import SiteName

#: What each site holds: bytes of files, manifests and members by their digest.
Sources = Mapping[SiteName, Mapping[Digest, bytes]]
_CHUNK_BYTES = 64 << 10


class MemorySink:
    """Appends to a buffer. See :class:`librarian_adapters.contract.Sink`."""

    def __init__(self, held: bytearray) -> None:
        self.offset = len(held)
        self._held = held
        self._closed = False

    async def write(self, data: Buffer) -> None:
        """Append."""
        if self._closed:
            raise StoreFault("written to after it was closed")
        self._held += data

    def fileno(self) -> int | None:
        """There is none."""
        return None

    async def close(self) -> None:
        """Idempotent."""
        self._closed = True


class MemoryScratch:
    """A :class:`librarian_adapters.contract.Scratch` in the directory for temporary files."""

    def __init__(self, staging: MemoryStaging) -> None:
        self._staging = staging
        self.path = tempfile.mkdtemp(prefix="scratch-")
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

    async def adopt(self, item: Item, relative: str) -> bool:
        """Read what stands there, and remove it."""
        path = Path(self.path, relative)
        if item.part is Part.TREE:
            if not path.is_dir():
                return False
            for entry in sorted(path.rglob("*")):
                if not entry.is_dir() or entry.is_symlink():
                    below = entry.relative_to(path)
                    member = msgspec.structs.replace(item, key=f"{item.key}/{below}", part=Part.MEMBER)
                    await self.adopt(member, f"{relative}/{below}")
            return True
        if not path.exists() and not path.is_symlink():
            return False
        if path.is_symlink() or not path.is_file():
            raise SourceInvalid(f"{item.part} of {item.name!a}: no plain file came")
        if path.stat().st_size > item.size_bytes:
            raise SizeMismatch(f"{item.part} of {item.name!a}: more bytes came than were announced")
        self._staging.held[item.key] = bytearray(path.read_bytes())
        path.unlink()
        return True

    async def share(self, item: Item, relative: str) -> None:
        """Write what is staged."""
        held = self._staging.held.pop(item.key, bytearray())
        path = Path(self.path, relative)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(held if len(held) <= item.size_bytes else b"")

    async def remove(self) -> None:
        """The directory goes, and comes again empty when it is asked for."""
        shutil.rmtree(self.path)
        os.makedirs(self.path, mode=0o700)


class MemoryStaging:
    """A :class:`librarian_adapters.contract.Staging` in a dict."""

    def __init__(self) -> None:
        #: What stands there, by the item's key.
        self.held: dict[str, bytearray] = {}
        self.scratches: dict[str, MemoryScratch] = {}

    async def create(self, item: Item, *, resume: bool = False) -> MemorySink:
        """Open the item's place."""
        if not resume or item.key not in self.held:
            self.held[item.key] = bytearray()
        return MemorySink(self.held[item.key])

    async def put(self, items: Sequence[tuple[Item, Buffer]]) -> None:
        """Write many items whole."""
        for item, data in items:
            self.held[item.key] = bytearray(data)

    async def read_back(self, item: Item) -> tuple[int, Digest]:
        """Size and digest of what stands there."""
        held = self.held.get(item.key)
        if held is None:
            raise StoreFault(f"nothing is staged for {item.key}")
        return len(held), Digest(f"blake3:{blake3(held).hexdigest()}")

    async def read_back_many(self, items: Sequence[Item]) -> Sequence[tuple[int, Digest] | StoreError]:
        """Size and digest of each, or why not."""
        return await read_back_each(self.read_back, items)

    async def scratch(self, name: str) -> MemoryScratch:
        """A real directory: the programs that need one are real."""
        if name not in self.scratches:
            self.scratches[name] = MemoryScratch(self)
        return self.scratches[name]

    async def discard(self, item: Item) -> None:
        """Remove what is there."""
        self.held.pop(item.key, None)


class Memory:
    """Brings bytes that stand in a dict. Always fetches in the order of the batch."""

    name = "memory"
    version = 1
    capabilities = Capabilities(
        max_files=10_000, max_bytes=1 << 40, resumable=True, verifies_inline=False, dial=Dial.EITHER
    )

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    async def fetch(self, batch: Batch, staging: Staging, progress: Progress) -> AsyncGenerator[Outcome, None]:
        """As :meth:`Adapter.fetch`.

        Raises:
            SourceUnreachable: there is no such site.
        """
        held = self._sources.get(batch.source)
        if held is None:
            raise SourceUnreachable(f"site {batch.source} does not answer")
        for item in batch.items:
            try:
                await self.bring(item, held, staging, progress)
            except (TransferError, StoreError) as exc:
                yield Failed(item, exc)
            else:
                yield Landed(item)

    async def bring(self, item: Item, held: Mapping[Digest, bytes], staging: Staging, progress: Progress) -> None:
        """Bring one item.

        Raises:
            SourceMissing: the site does not hold it.
        """
        await self.write(item, bytes_of(item, held), staging, progress)

    async def write(self, item: Item, data: bytes, staging: Staging, progress: Progress) -> None:
        """Write what is not in staging yet, and let others run after each chunk."""
        sink = await staging.create(item, resume=True)
        try:
            for at in range(sink.offset, len(data), _CHUNK_BYTES):
                chunk = data[at : at + _CHUNK_BYTES]
                await sink.write(chunk)
                progress.moved(item, len(chunk))
                await asyncio.sleep(0)
        finally:
            await sink.close()

    def offer(self) -> AdapterOffer | None:
        """It gives nothing away."""
        return None

    async def abandon(self, ticket: bytes) -> None:
        """It has no tickets."""

    async def close(self) -> None:
        """Nothing is kept open."""


def bytes_of(item: Item, held: Mapping[Digest, bytes]) -> bytes:
    """The bytes of an item at a source.

    Raises:
        SourceMissing: the source does not hold it.
    """
    data = held.get(item.digest)
    if data is None:
        raise SourceMissing(f"{item.part} of {item.name!a} is not held")
    return data


async def read_back_each(
    read_back: Callable[[Item], Awaitable[tuple[int, Digest]]], items: Sequence[Item]
) -> list[tuple[int, Digest] | StoreError]:
    """What ``read_back`` says of each item, or why it cannot."""
    found: list[tuple[int, Digest] | StoreError] = []
    for item in items:
        try:
            found.append(await read_back(item))
        except StoreError as exc:
            found.append(exc)
    return found
