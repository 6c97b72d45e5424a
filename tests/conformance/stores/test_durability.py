"""How a store on a POSIX filesystem makes many files durable: ``[[store]] sync``."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.support import stores
from tests.support.stores import staged

from librarian_daemon.fs.beneath import wait_written
from librarian_daemon.ports.store import Landing, NotPlaced
from librarian_daemon.stores.posix import durability
from librarian_daemon.stores.posix.durability import SYNCFS_FROM, Sync
from librarian_daemon.stores.posix.layout import Marker
from librarian_daemon.stores.posix.store import PosixStore
from librarian_protocol.entries import StoreRole
from librarian_protocol.names import SiteName

DURABILITY = "librarian_daemon.stores.posix.durability"


def yes(_: int) -> bool:
    return True


def no(_: int) -> bool:
    return False


async def made(root: Path, sync: Sync) -> PosixStore:
    marker = Marker(id=stores.STORE_ID, label="archive", site=SiteName.parse("here"))
    PosixStore.create(str(root), marker)
    store = PosixStore(str(root), marker, StoreRole.ARCHIVE, sync=sync)
    await store.open()
    return store


async def batch(store: PosixStore, files: int, first: int = 0) -> Sequence[Landing]:
    return [await staged(store, f"k{number}", f"f{number}", b"data") for number in range(first, first + files)]


class Disk:
    """What both ways take there, as far as they are timed; and how often one syncfs was made for a batch."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, fsync_s: float, syncfs_s: float, dirty: int = 0) -> None:
        self.times = 0
        self.dirty = dirty

        def syncfs(_: int) -> None:
            self.times += 1

        def probed(_: int) -> float:
            return syncfs_s

        def fsyncs(*_: object) -> float:
            return fsync_s

        def dirty_bytes() -> int:
            return self.dirty

        monkeypatch.setattr(f"{DURABILITY}.syncfs_works", yes)
        monkeypatch.setattr(f"{DURABILITY}.syncfs", syncfs)
        monkeypatch.setattr(f"{DURABILITY}._syncfs", probed)
        monkeypatch.setattr(f"{DURABILITY}.Durability._fsyncs", fsyncs)
        monkeypatch.setattr(f"{DURABILITY}.dirty_bytes", dirty_bytes)

    async def syncs(self, store: PosixStore, files: int, first: int) -> int:
        """Number of syncfs for a batch."""
        before = self.times
        landings = await batch(store, files, first)
        assert await store.seal(landings) == landings
        return self.times - before


async def test_what_is_quicker_on_this_disk_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch, fsync_s=100.0, syncfs_s=0.1)
    store = await made(tmp_path / "s", "auto")
    assert await disk.syncs(store, SYNCFS_FROM, 0) == 0  # nothing was timed before it
    assert await disk.syncs(store, SYNCFS_FROM, 100) == 1
    disk = Disk(monkeypatch, fsync_s=0.1, syncfs_s=100.0)
    other = await made(tmp_path / "other", "auto")
    assert await disk.syncs(other, SYNCFS_FROM, 0) == 0
    assert await disk.syncs(other, SYNCFS_FROM, 100) == 0


async def test_a_few_files_never_wait_for_a_whole_filesystem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch, fsync_s=100.0, syncfs_s=0.1)
    for sync in ("auto", "syncfs"):
        store = await made(tmp_path / sync, sync)
        await disk.syncs(store, SYNCFS_FROM, 0)
        assert await disk.syncs(store, 1, 100) == 0
        assert await disk.syncs(store, SYNCFS_FROM - 1, 200) == 0


async def test_while_others_have_much_to_be_written_nobody_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch, fsync_s=100.0, syncfs_s=0.1)
    store = await made(tmp_path / "s", "auto")
    await disk.syncs(store, SYNCFS_FROM, 0)
    disk.dirty = 1 << 30
    assert await disk.syncs(store, SYNCFS_FROM, 100) == 0
    disk.dirty = 0
    assert await disk.syncs(store, SYNCFS_FROM, 200) == 1


async def test_a_syncfs_that_took_long_is_the_last_until_both_are_timed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch, fsync_s=1e-9, syncfs_s=0.0)  # the batch's own one takes longer than that
    store = await made(tmp_path / "s", "auto")
    await disk.syncs(store, SYNCFS_FROM, 0)
    assert await disk.syncs(store, SYNCFS_FROM, 100) == 1
    assert await disk.syncs(store, SYNCFS_FROM, 200) == 0
    monkeypatch.setattr(f"{DURABILITY}.TIMED_EVERY_S", 0.0)
    assert store.can.directory is not None
    await store.can.directory.try_durability()  # times both
    assert await disk.syncs(store, SYNCFS_FROM, 300) == 1


async def test_a_syncfs_that_wrote_what_others_had_written_may_take_long_once_but_not_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch, fsync_s=1e-9, syncfs_s=0.0)  # each batch's own one takes longer than that
    store = await made(tmp_path / "s", "auto")
    await disk.syncs(store, SYNCFS_FROM, 0)
    disk.dirty = 100 << 20
    assert await disk.syncs(store, SYNCFS_FROM, 100) == 1
    assert await disk.syncs(store, SYNCFS_FROM, 200) == 1
    assert await disk.syncs(store, SYNCFS_FROM, 300) == 0


def test_what_was_written_before_is_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def syncfs(_: int) -> None:
        calls.append(len(os.listdir(tmp_path)))

    monkeypatch.setattr(f"{DURABILITY}.syncfs", syncfs)
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    durability._syncfs(fd)  # pyright: ignore[reportPrivateUsage]
    os.close(fd)
    assert calls == [0, SYNCFS_FROM]


FUSE, EXT4 = 0x65735546, 0xEF53


@pytest.mark.parametrize(
    ("kind", "release", "works"),
    [
        (EXT4, "6.1.0-amd64", True),
        (EXT4, "5.8.0", True),
        (EXT4, "5.4.0-150-generic", False),
        (FUSE, "6.1.0", False),
        (None, "6.1.0", False),
    ],
)
def test_syncfs_is_used_only_where_it_is_known_to_write_and_to_report(
    monkeypatch: pytest.MonkeyPatch, kind: int | None, release: str, works: bool
) -> None:
    class Name:
        def __init__(self) -> None:
            self.release = release

    def filesystem(_: int) -> int | None:
        return kind

    monkeypatch.setattr(f"{DURABILITY}.filesystem_type", filesystem)
    monkeypatch.setattr("os.uname", Name)
    assert durability.syncfs_works(0) is works


@pytest.mark.parametrize(("sync", "level"), [("auto", "ok"), ("syncfs", "warning")])
async def test_where_syncfs_may_do_nothing_every_file_is_fsynced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: Sync, level: str
) -> None:
    disk = Disk(monkeypatch, fsync_s=100.0, syncfs_s=0.1)
    monkeypatch.setattr(f"{DURABILITY}.syncfs_works", no)
    store = await made(tmp_path / "s", sync)
    await disk.syncs(store, SYNCFS_FROM, 0)
    assert await disk.syncs(store, SYNCFS_FROM, 100) == 0
    assert store.can.directory is not None
    check = await store.can.directory.try_durability()
    assert check.level == level
    assert "fsync for every file" in check.message


async def test_a_syncfs_that_failed_gives_up_its_batch_and_is_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch, fsync_s=100.0, syncfs_s=0.1)
    store = await made(tmp_path / "s", "syncfs")

    def failing(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(f"{DURABILITY}.syncfs", failing)
        sealed = await store.seal(await batch(store, SYNCFS_FROM))
    assert {type(outcome) for outcome in sealed} == {NotPlaced}
    assert await disk.syncs(store, SYNCFS_FROM, 100) == 0
    assert store.can.directory is not None
    check = await store.can.directory.try_durability()
    assert (check.level, "since a syncfs failed" in check.message) == ("warning", True)


async def test_a_file_of_which_bytes_were_not_written_is_given_up_though_syncfs_told_another_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Disk(monkeypatch, fsync_s=100.0, syncfs_s=0.1)
    store = await made(tmp_path / "s", "syncfs")
    landings = await batch(store, SYNCFS_FROM)
    asked = 0

    def waited(_: int) -> None:
        nonlocal asked
        asked += 1
        if asked == 7:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("librarian_daemon.stores.posix.sealer.wait_written", waited)
    sealed = await store.seal(landings)
    assert [type(outcome) for outcome in sealed] == [*[Landing] * 6, NotPlaced, *[Landing] * (SYNCFS_FROM - 7)]
    assert asked == SYNCFS_FROM


def test_what_the_kernel_wrote_of_a_file_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(1 << 20))
    with (tmp_path / "f").open("rb") as file:
        wait_written(file.fileno())
    read, write = os.pipe()
    with pytest.raises(OSError, match="Illegal seek"):
        wait_written(read)
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("sync", ["auto", "syncfs", "fsync"])
async def test_the_doctor_prints_both_times_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: Sync
) -> None:
    monkeypatch.setattr(f"{DURABILITY}.syncfs_works", yes)
    store = await made(tmp_path / "s", sync)
    assert store.can.directory is not None
    check = await store.can.directory.try_durability()
    assert check.level == "ok"
    assert f"sync = {sync}" in check.message
    assert "ms by syncfs" in check.message
    assert "ms by fsync" in check.message
    assert os.listdir(store.staging_root) == []


async def test_where_nothing_can_be_written_files_are_fsynced_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{DURABILITY}.syncfs_works", yes)
    store = await made(tmp_path / "s", "auto")
    landings = await batch(store, SYNCFS_FROM)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(f"{DURABILITY}._file", full)
        assert await store.seal(landings) == landings
        assert store.can.directory is not None
        assert (await store.can.directory.try_durability()).level == "warning"


def test_what_waits_to_be_written_is_read_from_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = tmp_path / "meminfo"
    memory.write_text("MemTotal: 100 kB\nDirty: 30 kB\nWriteback: 12 kB\nWritebackTmp: 9 kB\n")
    monkeypatch.setattr(f"{DURABILITY}._MEMORY", str(memory))
    assert durability.dirty_bytes() == 42 << 10
    memory.unlink()
    assert durability.dirty_bytes() == 0
