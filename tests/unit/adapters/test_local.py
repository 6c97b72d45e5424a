"""What only the local adapter can get wrong: links, mounts, descriptors."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tests.support.fetching import WatchedStaging, batch_of, failures, landed_keys, outcomes_of
from tests.support.source import STORE, Collection, Destination, noise
from tests.support.stores import posix

from librarian_adapters import local
from librarian_adapters.contract import Context, Item, Landed
from librarian_adapters.testing.memory import MemorySink
from librarian_adapters.wrappers.verifying import VerifyingAdapter
from librarian_protocol.errors import ConfigInvalid, SourceMissing, SourceUnreachable, StoreFault, StoreFull


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    return Collection(tmp_path / "store")


def adapter_of(root: Path | str, settings: dict[str, Any] | None = None) -> local.Local:
    destination = Destination()
    return local.factory(
        Context(site=destination.name, sign=destination.sign, settings=settings or {}, roots={STORE: str(root)})
    )


async def test_no_link_is_ever_followed(collection: Collection, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    (secret / "below").mkdir(parents=True)
    (secret / "below" / "f").write_bytes(b"secret")
    items = [collection.item(name, b"secret") for name in ("link/below/f", "link-to-file", "deep/down")]
    (collection.root / "link").symlink_to(secret)
    (collection.root / "link-to-file").symlink_to(secret / "below" / "f")
    (collection.root / "deep").symlink_to("link/below")
    outcomes = await outcomes_of(adapter_of(collection.root), batch_of(items), WatchedStaging())
    assert {type(error) for error in failures(outcomes).values()} == {SourceMissing}
    assert len(outcomes) == 3


async def test_what_is_no_regular_file_is_missing(collection: Collection) -> None:
    os.mkfifo(collection.root / "fifo")
    (collection.root / "directory").mkdir()
    items = [collection.item(name, b"?") for name in ("fifo", "directory")]
    outcomes = await outcomes_of(adapter_of(collection.root), batch_of(items), WatchedStaging())
    assert {type(error) for error in failures(outcomes).values()} == {SourceMissing}


async def test_a_root_reached_through_a_link_is_fine(collection: Collection, tmp_path: Path) -> None:
    (tmp_path / "here").symlink_to(collection.root)
    item = collection.add("f", b"data")
    outcomes = await outcomes_of(adapter_of(tmp_path / "here"), batch_of([item]), WatchedStaging())
    assert outcomes == [Landed(item)]


async def test_a_store_that_is_not_mounted_is_unreachable_and_not_empty(collection: Collection, tmp_path: Path) -> None:
    item = collection.add("f", b"data")
    (collection.root / ".librarian" / "store").write_text('{"id": "ffffffffffffffff"}')
    for root in (collection.root, tmp_path, tmp_path / "nowhere"):
        with pytest.raises(SourceUnreachable):
            await outcomes_of(adapter_of(root), batch_of([item]), WatchedStaging())


async def test_a_store_that_this_machine_cannot_read_is_unreachable(collection: Collection) -> None:
    with pytest.raises(SourceUnreachable, match="store other of site summit"):
        await outcomes_of(adapter_of(collection.root), batch_of([], store="other"), WatchedStaging())


def test_settings_are_refused_because_there_are_none(collection: Collection) -> None:
    with pytest.raises(ConfigInvalid, match="'speed'"):
        adapter_of(collection.root, {"speed": "high"})


class FileSinks(WatchedStaging):
    """Staging whose sinks are real files, opened with ``flags`` besides."""

    def __init__(self, directory: Path, flags: int = 0) -> None:
        super().__init__()
        self.directory = directory
        self.flags = flags
        self.writes = 0

    async def create(self, item: Item, *, resume: bool = False) -> MemorySink:
        staged = self

        class Sink(MemorySink):
            descriptor = os.open(staged.directory / item.key, os.O_CREAT | os.O_RDWR | staged.flags)

            async def write(self, data: Any) -> None:
                staged.writes += 1
                os.pwrite(self.descriptor, data, os.fstat(self.descriptor).st_size)

            def fileno(self) -> int | None:
                return self.descriptor

            async def close(self) -> None:
                if self.descriptor >= 0:
                    os.close(self.descriptor)
                    self.descriptor = -1

        sink = Sink(bytearray())
        sink.offset = os.fstat(sink.descriptor).st_size if resume else 0
        return sink


async def test_the_kernel_copies_where_there_is_a_descriptor(collection: Collection, tmp_path: Path) -> None:
    data = noise(20 << 20)
    item = collection.add("large", data)
    (tmp_path / "large").write_bytes(data[: 3 << 20])
    staging = FileSinks(tmp_path)
    assert await outcomes_of(adapter_of(collection.root), batch_of([item]), staging) == [Landed(item)]
    assert (tmp_path / "large").read_bytes() == data
    assert staging.writes == 0


async def test_where_the_kernel_cannot_copy_bytes_are_written(collection: Collection, tmp_path: Path) -> None:
    data = noise(3 << 20)
    item = collection.add("large", data)
    staging = FileSinks(tmp_path, os.O_APPEND)
    assert await outcomes_of(adapter_of(collection.root), batch_of([item]), staging) == [Landed(item)]
    assert (tmp_path / "large").read_bytes() == data
    assert staging.writes == 3


@pytest.mark.parametrize(("number", "expected"), [(28, StoreFull), (122, StoreFull), (5, StoreFault)])
async def test_a_copy_that_fails_half_way_is_the_stores_fault(
    collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[Exception]
) -> None:
    item = collection.add("large", noise(20 << 20))
    copy = os.copy_file_range

    def failing(source: int, target: int, count: int, offset_src: int, offset_dst: int) -> int:
        if offset_src:
            raise OSError(number, os.strerror(number))
        return copy(source, target, count, offset_src, offset_dst)

    monkeypatch.setattr(os, "copy_file_range", failing)
    outcomes = await outcomes_of(adapter_of(collection.root), batch_of([item]), FileSinks(tmp_path))
    assert {type(error) for error in failures(outcomes).values()} == {expected}


async def test_a_file_cut_while_it_is_copied_fails_alone(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = collection.add("first", noise(3 << 20)), collection.add("second", noise(100))
    read = os.pread

    def cutting(descriptor: int, count: int, offset: int) -> bytes:
        return b"" if offset else read(descriptor, count, offset)

    monkeypatch.setattr(os, "pread", cutting)
    outcomes = await outcomes_of(
        VerifyingAdapter(adapter_of(collection.root)), batch_of([first, second]), WatchedStaging()
    )
    assert landed_keys(outcomes) == {"second"}
    assert "somebody cut it" in str(failures(outcomes)["first"])


@pytest.mark.parametrize("begun_bytes", [0, 1 << 20, 3 << 20])
async def test_holes_take_no_room(collection: Collection, tmp_path: Path, begun_bytes: int) -> None:
    """At the beginning, in the middle, at the end; also where it goes on within one."""
    data = bytes(4 << 20) + noise(1 << 20) + bytes(20 << 20) + noise(100) + bytes(4 << 20)
    item = collection.item("sparse", data)
    with (collection.root / "sparse").open("wb") as file:
        file.truncate(len(data))
        file.seek(4 << 20)
        file.write(data[4 << 20 : 5 << 20])
        file.seek(25 << 20)
        file.write(data[25 << 20 : (25 << 20) + 100])
    store = posix(tmp_path / "into")
    await store.open()
    sink = await store.staging.create(item)
    await sink.write(data[:begun_bytes])
    await sink.close()
    outcomes = await outcomes_of(VerifyingAdapter(adapter_of(collection.root)), batch_of([item]), store.staging)
    assert outcomes == [Landed(item)]
    assert (Path(store.staging_root) / "sparse").stat().st_blocks * 512 <= 2 << 20
    store.close()
