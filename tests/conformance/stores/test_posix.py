"""What is particular to a store on a POSIX filesystem: its marker, its head, old kernels, full and failing disks."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import time
from pathlib import Path

import pytest
from tests.support import stores
from tests.support.mounts import tmpfs
from tests.support.stores import file_item, staged

from librarian_adapters import beneath
from librarian_daemon.fs.beneath import directory
from librarian_daemon.fs.kept import Kept, move
from librarian_daemon.ports.store import NotPlaced, Placed
from librarian_daemon.stores.posix.layout import Marker
from librarian_daemon.stores.posix.store import PosixStore
from librarian_protocol.digests import Digest
from librarian_protocol.entries import StoreRole, Unit
from librarian_protocol.errors import (
    CaseTwin,
    ConfigInvalid,
    NoInodes,
    StoreFault,
    StoreFull,
    StoreNotMounted,
)
from librarian_protocol.names import Name, SiteName


@pytest.fixture
async def store(tmp_path: Path) -> PosixStore:
    made = stores.posix(tmp_path / "store")
    await made.open()
    return made


def test_a_directory_with_something_in_it_does_not_become_a_store(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigInvalid, match="thesis"):
        stores.posix(tmp_path)
    assert PosixStore.read_marker(str(tmp_path)) is None


def test_a_store_does_not_become_another(tmp_path: Path) -> None:
    stores.posix(tmp_path / "s")
    other = Marker(id="0" * 32, label="other", site=SiteName.parse("there"))
    with pytest.raises(ConfigInvalid, match="already the store"):
        PosixStore.create(str(tmp_path / "s"), other)
    found = PosixStore.read_marker(str(tmp_path / "s"))
    assert found is not None
    assert found.id == stores.STORE_ID


async def test_another_stores_marker_is_not_ours(tmp_path: Path) -> None:
    stores.posix(tmp_path / "s")
    other = Marker(id="0" * 32, label="other", site=SiteName.parse("there"))
    with pytest.raises(StoreNotMounted, match="another store"):
        await PosixStore(str(tmp_path / "s"), other, StoreRole.ARCHIVE).open()


@pytest.mark.parametrize("part", [".librarian", ".librarian/store", ".librarian/staging"])
async def test_a_store_whose_own_directory_is_moved_away_while_it_runs_is_not_mounted(
    store: PosixStore, tmp_path: Path, part: str
) -> None:
    landing = await staged(store, "k1", "x", b"data")
    Path(store.root, part).rename(tmp_path / "elsewhere")
    with pytest.raises(StoreNotMounted):
        await store.staging.create(file_item("k2", b""))
    if part != ".librarian/staging":
        with pytest.raises(StoreNotMounted):
            await store.space()
        for outcome in (*await store.seal([landing]), *await store.place([landing])):
            assert isinstance(outcome, NotPlaced)
            assert isinstance(outcome.error, StoreNotMounted)
        check = await store.check(landing.name, landing.digest, Unit.FILE, 4)
        assert isinstance(check.error, StoreNotMounted)
    (tmp_path / "elsewhere").rename(Path(store.root, part))
    await store.seal([landing])
    assert await store.place([landing]) == [Placed(landing)]


def test_a_damaged_marker_is_a_fault_not_a_new_store(tmp_path: Path) -> None:
    stores.posix(tmp_path / "s")
    (tmp_path / "s/.librarian/store").write_bytes(b"{}")
    with pytest.raises(StoreFault, match="damaged"):
        PosixStore.read_marker(str(tmp_path / "s"))


async def test_the_head_is_what_was_written_last(store: PosixStore) -> None:
    assert await store.read_head() is None
    await store.write_head("one")
    await store.write_head("two")
    assert await store.read_head() == "two"


async def test_an_old_kernel_is_confined_as_well(store: PosixStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beneath, "has_openat2", lambda: False)
    landing = await staged(store, "k1", "a/b/c", b"data")
    await store.seal([landing])
    assert await store.place([landing]) == [Placed(landing)]
    Path(store.root, "link").symlink_to("/etc")
    check = await store.check(Name.parse("link/passwd"), landing.digest, Unit.FILE, 4)
    assert check.error is not None
    assert check.digest is None


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.fault(30)
def test_no_path_leads_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, old: bool) -> None:
    if old:
        monkeypatch.setattr(beneath, "has_openat2", lambda: False)
    (tmp_path / "root/in").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"")
    (tmp_path / "root/up").symlink_to("..")
    (tmp_path / "root/self").symlink_to("/proc/self/root")
    (tmp_path / "root/link").symlink_to("in")
    with directory(str(tmp_path / "root")) as fd:
        for path in (b"../secret", b"/etc/passwd", b"in/../../secret", b"up/secret", b"self/etc/passwd", b"link"):
            with pytest.raises(OSError, match=r"link|directory|levels") as failure:
                beneath.open_beneath(fd, path, os.O_RDONLY)
            assert failure.value.errno in {errno.EXDEV, errno.ELOOP, errno.ENOTDIR}
        os.close(beneath.open_beneath(fd, b"in", os.O_RDONLY))
        os.close(beneath.open_beneath(fd, b"", os.O_RDONLY))


async def test_a_full_disk_and_one_without_inodes_are_told_apart(tmp_path: Path) -> None:
    for options, error in (("size=256k", StoreFull), ("size=8m,nr_inodes=12", NoInodes)):
        with tmpfs(tmp_path / "store", options):
            made = stores.posix(tmp_path / "store")
            await made.open()
            items = [(file_item(f"k{number}", b""), b"x" * 16_384) for number in range(40)]
            with pytest.raises(error):
                await made.staging.put(items)
            await made.open()  # what is in it can still be served


@pytest.mark.fault(11)
async def test_a_read_only_store_serves_and_takes_nothing(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "store", "size=1m"):
        made = stores.posix(tmp_path / "store")
        await made.open()
        landing = await staged(made, "k1", "x", b"data")
        await made.seal([landing])
        await made.place([landing])
        later = await staged(made, "k2", "y", b"later")
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path / "store")], check=True)
        await made.open()
        assert (await made.check(landing.name, landing.digest, Unit.FILE, 4)).error is None
        for outcome in (*await made.seal([later]), *await made.place([later])):
            assert isinstance(outcome, NotPlaced)
            assert isinstance(outcome.error, StoreFault)
        with pytest.raises(StoreFault, match="read-only"):
            await made.staging.create(file_item("k3", b""))


@pytest.mark.fault(10)
async def test_a_failed_fsync_discards_the_staged_file(store: PosixStore, monkeypatch: pytest.MonkeyPatch) -> None:
    landing = await staged(store, "k1", "x", b"data")

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("librarian_daemon.stores.posix.sealer.os.fsync", fail)
        (outcome,) = await store.seal([landing])
    assert isinstance(outcome, NotPlaced)
    assert isinstance(outcome.error, StoreFault)
    assert os.listdir(store.staging_root) == []


async def test_a_failed_directory_fsync_is_not_called_placed(
    store: PosixStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    landing = await staged(store, "k1", "x", b"data")
    await store.seal([landing])

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("librarian_daemon.stores.posix.placer.fsync_beneath", fail)
        (outcome,) = await store.place([landing])
        assert isinstance(outcome, NotPlaced)
        assert isinstance(outcome.error, StoreFault)
    assert await store.recover(landing) == Placed(landing)


async def test_a_directory_that_is_moved_away_during_a_batch_is_not_called_entered(
    store: PosixStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    landing = await staged(store, "k1", "d/x", b"data")
    await store.seal([landing])

    def renamed_then_moved_away(source: Kept, old: bytes, target: Kept, new: bytes) -> None:
        move(source, old, target, new)
        Path(store.root, "d").rename(tmp_path / "away")
        Path(store.root, "d").mkdir()

    with monkeypatch.context() as patched:
        patched.setattr("librarian_daemon.stores.posix.placer.move", renamed_then_moved_away)
        (outcome,) = await store.place([landing])
    assert isinstance(outcome, NotPlaced)
    assert isinstance(outcome.error, StoreFault)


@pytest.mark.fault(33)
async def test_a_twin_on_a_filesystem_that_folds_case_is_named_so(store: PosixStore) -> None:
    # No such filesystem is at hand: the name is taken, and the directory lists it only in another case.
    def not_listed(_: int, __: bytes) -> bool:
        return False

    store._placer.case_insensitive = True  # pyright: ignore[reportPrivateUsage]
    Path(store.root, "TWIN").write_bytes(b"upper")
    landing = await staged(store, "k1", "twin", b"lower")
    await store.seal([landing])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("librarian_daemon.stores.posix.placer.listed", not_listed)
        Path(store.root, "twin").write_bytes(b"as the kernel sees it")
        (outcome,) = await store.place([landing])
    assert isinstance(outcome, NotPlaced)
    assert isinstance(outcome.error, CaseTwin)


async def test_a_cancelled_check_stops_between_two_chunks(store: PosixStore, monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0
    real = os.readv
    loop = asyncio.get_running_loop()

    def slow(fd: int, buffers: list[bytearray]) -> int:
        nonlocal read
        read += 1
        if read == 1:
            loop.call_soon_threadsafe(task.cancel)
        time.sleep(0.01)
        return real(fd, buffers)

    Path(store.root, "x").write_bytes(bytes(64 << 20))
    task = asyncio.create_task(store.check(Name.parse("x"), Digest.blake3(b""), Unit.FILE, 64 << 20))
    monkeypatch.setattr("librarian_daemon.fs.hashing.os.readv", slow)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert 0 < read < 32
