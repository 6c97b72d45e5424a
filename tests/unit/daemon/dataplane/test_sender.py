"""Giving bytes of a store that has no descriptors: as of one that has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from tests.support.memory_store import MemoryStore
from tests.support.memory_volume import Inode, Volume

from librarian_adapters.contract import Part
from librarian_adapters.http.bundle import MAX_ITEM_BYTES, Asked, FrameReader
from librarian_daemon.dataplane.sender import CHUNK_BYTES, GROUP_ITEMS, Holding, Sender
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Unit
from librarian_protocol.errors import SizeMismatch, SourceMissing, SourceUnreachable
from librarian_protocol.names import MemberPath, Name, SiteName

SITE, ASKER = SiteName("summit"), SiteName("archive")


class Held:
    """Files of a memory store, and what was suspected of them."""

    def __init__(self, **files: bytes) -> None:
        self.volume = Volume()
        self.store = MemoryStore(self.volume, id_="0" * 32, label="main")
        #: Of files that another store holds.
        self.stores: dict[Digest, MemoryStore] = {}
        self.files: dict[Digest, tuple[Name, int]] = {}
        self.put(files)
        self.suspected: list[Digest] = []
        self.giver = Sender(SITE, self, self)

    def put(self, files: Mapping[str, bytes]) -> None:
        self.volume.named |= {name: Inode(data) for name, data in files.items()}
        self.files |= {Digest.blake3(data): (Name(name), len(data)) for name, data in files.items()}

    def roster(self) -> Mapping[SiteName, str]:
        return {}

    def may_read(self, site: SiteName) -> str:
        return ""

    async def find(self, asker: SiteName, digests: Sequence[Digest]) -> Mapping[Digest, Holding]:
        return {
            digest: Holding(
                name=name,
                digest=digest,
                unit=Unit.FILE,
                size_bytes=size_bytes,
                store=self.stores.get(digest, self.store),
            )
            for digest in digests
            if digest in self.files
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


async def test_a_bundle_longer_than_a_group_is_given_whole_and_in_pieces() -> None:
    """A group ends after so many items, or so many bytes: neither end holds more in memory."""
    held = Held(**{f"f{number}": b"%d" % number for number in range(GROUP_ITEMS + 1)})
    held.put({f"large{number}": bytes([number]) * (CHUNK_BYTES // 2) for number in range(5)})
    pieces = [piece async for piece in held.giver.frames(ASKER, held.asked())]
    frames = FrameReader(MAX_ITEM_BYTES)
    given = {frame.head.item: frame.body for piece in pieces for frame in frames.feed(piece)}
    assert [Digest.blake3(given[item]) for item in range(len(given))] == [asked.digest for asked in held.asked()]
    assert len(pieces) == 1 + 3
    assert max(map(len, pieces)) < 2 * CHUNK_BYTES


async def test_what_is_wrong_with_one_item_is_told_in_its_place() -> None:
    held = Held(gone=b"gone", longer=b"longer", good=b"good", other=b"other")
    asked = held.asked()
    del held.volume.named["gone"]
    held.volume.named["longer"] = Inode(b"longer than it was")
    asked[3] = msgspec.structs.replace(asked[3], size_bytes=4)
    frames = FrameReader(MAX_ITEM_BYTES)
    given = [frame async for piece in held.giver.frames(ASKER, asked) for frame in frames.feed(piece)]
    codes = {frame.head.item: frame.head.code for frame in given}
    assert codes == {0: SourceMissing.code, 1: SourceMissing.code, 2: "", 3: SizeMismatch.code}
    assert held.suspected == [asked[0].digest, asked[1].digest]


async def test_an_unmounted_store_does_not_keep_the_items_of_another_back() -> None:
    held, away = Held(good=b"good"), Held(lost=b"lost")
    away.volume.mounted = False
    held.stores[Digest.blake3(b"lost")] = away.store
    held.files |= away.files
    frames = FrameReader(MAX_ITEM_BYTES)
    given = [frame async for piece in held.giver.frames(ASKER, held.asked()) for frame in frames.feed(piece)]
    assert {frame.head.item: frame.head.code for frame in given} == {0: "", 1: SourceUnreachable.code}
    assert held.suspected == []


async def test_a_file_that_ends_early_is_no_source() -> None:
    held = Held(a=b"one")
    (asked,) = held.asked()
    reader = await held.giver.find(ASKER, asked)
    reader.size_bytes += 1
    with pytest.raises(SourceMissing):
        _ = [piece async for piece in held.giver.read(asked, reader, 0)]
    assert held.suspected == [asked.digest]


async def test_who_reads_an_instance_gets_no_more_of_it_when_it_is_found_bad() -> None:
    held = Held(large=bytes(3 * CHUNK_BYTES), other=b"other")
    asked, of_other = held.asked()
    reader, other = await held.giver.find(ASKER, asked), await held.giver.find(ASKER, of_other)
    pieces = held.giver.read(asked, reader, 0)
    assert len(await anext(pieces)) > 0
    held.giver.cut(asked.digest)
    with pytest.raises(SourceMissing):
        _ = [piece async for piece in pieces]
    assert reader.is_cut
    assert not other.is_cut
    reader.close()
    reader.close()
    assert not (await held.giver.find(ASKER, asked)).is_cut, "it is held again, and good"


async def test_an_instance_found_bad_while_it_is_opened_is_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(a=b"a")
    (asked,) = held.asked()
    opened = held.store.open_part
    answers: list[str] = []

    async def found_bad_meanwhile(*what: Any) -> Any:
        reader = await opened(*what)
        if not answers:
            answers.append("bad")
            del held.files[asked.digest]
            held.giver.cut(asked.digest)
        return reader

    monkeypatch.setattr(held.store, "open_part", found_bad_meanwhile)
    with pytest.raises(SourceMissing):
        await held.giver.find(ASKER, asked)


async def test_bad_members_of_a_last_instance_are_not_given() -> None:
    held = Held(a=b"a")
    holding = Holding(
        name=Name("book"),
        digest=Digest.blake3(b"m"),
        unit=Unit.BOOK,
        size_bytes=2,
        store=held.store,
        bad=frozenset({"bad"}),
    )
    held.volume.named |= {"book/bad": Inode(b"x"), "book/good": Inode(b"y")}
    asked = Asked(digest=holding.digest, part=Part.MEMBER, member=MemberPath("good"), size_bytes=1)
    assert (await held.giver.open(asked, holding)).size_bytes == 1
    with pytest.raises(SourceMissing):
        await held.giver.open(msgspec.structs.replace(asked, member=MemberPath("bad")), holding)
