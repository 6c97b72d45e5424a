"""What every store does when many small parts are read together."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.support import stores
from tests.support.store_kinds import Outside
from tests.support.stores import read, staged_book, stored

from librarian_adapters.contract import Part
from librarian_daemon.ports.store import PartRead, SiteStore, TooLarge, WantedPart
from librarian_protocol.digests import Digest
from librarian_protocol.errors import SourceMissing, StoreFault, StoreNotMounted
from librarian_protocol.names import MemberPath, Name

NOTHING = Digest.blake3(b"")


def wanted(
    name: str, part: Part = Part.FILE, member: str | None = None, digest: Digest = NOTHING, most_bytes: int = 100
) -> WantedPart:
    return WantedPart(
        name=Name.parse(name),
        digest=digest,
        part=part,
        member=None if member is None else MemberPath.parse(member),
        most_bytes=most_bytes,
    )


async def test_small_parts_are_read_together_in_the_order_they_are_wanted_in(
    store: SiteStore, outside: Outside
) -> None:
    files = {f"d{number % 3}/f{number}": b"%d" % number for number in range(200)}
    for name, data in files.items():
        outside.put(name, data)
    assert await store.read_parts([wanted(name) for name in files]) == list(files.values())
    assert await store.read_parts([]) == []


async def test_parts_of_a_book_are_read_as_files_are(store: SiteStore) -> None:
    landing = await staged_book(store, "b", "night", {"a": b"one", "deep/b": b"two"}, [])
    await stored(store, landing)
    manifest = wanted("night", Part.MANIFEST, digest=landing.digest, most_bytes=1 << 20)
    found = await store.read_parts([manifest, wanted("night", Part.MEMBER, "deep/b", landing.digest)])
    assert found == [await read(store, "night", landing.digest, "manifest"), b"two"]


async def test_what_is_wrong_with_one_part_does_not_stop_the_others(store: SiteStore, outside: Outside) -> None:
    for name, data in {"empty": b"", "long": b"x" * 11, "x/file": b"x", "last": b"last"}.items():
        outside.put(name, data)
    empty, gone, long, whole, directory, below, last = await store.read_parts(
        [
            wanted("empty"),
            wanted("gone"),
            wanted("long", most_bytes=10),
            wanted("long", most_bytes=11),
            wanted("x"),
            wanted("x/file/below"),
            wanted("last"),
        ]
    )
    assert (empty, long, whole, last) == (b"", TooLarge(11), b"x" * 11, b"last")
    for missing in (gone, directory, below):
        assert isinstance(missing, SourceMissing)


async def test_nothing_is_missing_in_a_store_that_is_away(store: SiteStore, outside: Outside) -> None:
    outside.put("x", b"data")
    outside.go_away()
    for outcome in await store.read_parts([wanted("x"), wanted("gone")]):
        assert isinstance(outcome, StoreNotMounted)
    outside.come_back()
    assert await store.read_parts([wanted("x")]) == [b"data"]


# ---- on a POSIX filesystem -------------------------------------------------------------------------------


async def _posix(root: Path, *names: str) -> list[PartRead]:
    store = stores.posix(root)
    await store.open()
    try:
        return list(await store.read_parts([wanted(name) for name in names]))
    finally:
        store.close()


async def test_neither_links_nor_pipes_are_read(tmp_path: Path) -> None:
    """Nor does a pipe keep anybody waiting."""
    root = tmp_path / "store"
    stores.posix(root)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"secret")
    (root / "good").write_bytes(b"good")
    (root / "link").symlink_to("good")
    (root / "way").symlink_to(tmp_path / "outside")
    os.mkfifo(root / "pipe")
    *wrong, good = await _posix(root, "link", "way/secret", "pipe", "good")
    assert good == b"good"
    assert not [outcome for outcome in wrong if isinstance(outcome, bytes | TooLarge)]
    assert isinstance(wrong[2], SourceMissing)


async def test_a_file_that_ends_before_its_size_is_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "store"
    stores.posix(root)
    for name in ("cut", "good"):
        (root / name).write_bytes(name.encode())
    pread = os.pread

    def short(fd: int, size_bytes: int, begin: int) -> bytes:
        return pread(fd, 2 if size_bytes == len("cut") else size_bytes, begin)

    monkeypatch.setattr("os.pread", short)
    cut, good = await _posix(root, "cut", "good")
    assert good == b"good"
    assert isinstance(cut, StoreFault)
    assert "ends at 2 bytes, not at 3" in cut.message
