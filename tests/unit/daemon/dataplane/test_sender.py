"""Giving bytes of a store that has no descriptors: as of one that has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from tests.support.memory_store import MemoryStore
from tests.support.memory_volume import Inode, Volume

from librarian_adapters.contract import Part
from librarian_adapters.http.bundle import MAX_ITEM_BYTES, Asked, FrameReader
from librarian_daemon.dataplane.sender import Holding, Sender
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Unit
from librarian_protocol.errors import SourceMissing
from librarian_protocol.names import Name, SiteName

SITE, ASKER = SiteName("summit"), SiteName("archive")


class Held:
    """Files of a memory store, and what was suspected of them."""

    def __init__(self, **files: bytes) -> None:
        self.volume = Volume()
        self.volume.named = {name: Inode(data) for name, data in files.items()}
        self.store = MemoryStore(self.volume, id_="0" * 32, label="main")
        self.files = {Digest.blake3(data): (Name(name), len(data)) for name, data in files.items()}
        self.suspected: list[Digest] = []
        self.giver = Sender(SITE, self, self)

    def roster(self) -> Mapping[SiteName, str]:
        return {}

    def may_read(self, site: SiteName) -> str:
        return ""

    async def find(self, asker: SiteName, digests: Sequence[Digest]) -> Mapping[Digest, Holding]:
        return {
            digest: Holding(name=name, digest=digest, unit=Unit.FILE, size_bytes=size_bytes, store=self.store)
            for digest in digests
            for name, size_bytes in [self.files[digest]]
        }

    async def missing(self, digest: Digest, reason: str) -> None:
        self.suspected.append(digest)

    def asked(self) -> list[Asked]:
        return [Asked(digest=digest, part=Part.FILE, size_bytes=size) for digest, (_, size) in self.files.items()]


async def test_a_large_file_is_read_in_pieces() -> None:
    data = bytes(range(256)) * 12_000
    held = Held(large=data)
    (asked,) = held.asked()
    reader = await held.giver.find(ASKER, asked)
    assert b"".join([bytes(piece) async for piece in held.giver.read(asked, reader, 100)]) == data[100:]


async def test_small_files_are_given_in_a_bundle() -> None:
    held = Held(a=b"one", b=b"", c=b"three")
    frames = FrameReader(MAX_ITEM_BYTES)
    given = [frame async for piece in held.giver.frames(ASKER, held.asked()) for frame in frames.feed(piece)]
    assert sorted(bytes(frame.body) for frame in given) == [b"", b"one", b"three"]


async def test_a_file_that_ends_early_is_no_source() -> None:
    held = Held(a=b"one")
    (asked,) = held.asked()
    reader = await held.giver.find(ASKER, asked)
    reader.size_bytes += 1
    with pytest.raises(SourceMissing):
        _ = [piece async for piece in held.giver.read(asked, reader, 0)]
    assert held.suspected == [asked.digest]
