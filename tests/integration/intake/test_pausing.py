"""When store, catalog or drop directory do not do their work, intake pauses by name and goes on by itself."""

from __future__ import annotations

import asyncio
import errno
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.support.intake import Rig
from tests.support.mounts import tmpfs

from librarian_daemon.intake.directory import watcher
from librarian_protocol import backoff
from librarian_protocol.errors import CatalogFault


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "LONGEST_S", 0.2)


def _is_empty(directory: Path) -> bool:
    return list(directory.iterdir()) == []


def _mounted(tmp_path: Path, options: str) -> Iterator[Rig]:
    with tmpfs(tmp_path / "store", options):
        yield Rig(tmp_path)


@pytest.mark.parametrize(
    ("options", "filler_bytes", "fillers", "reason"),
    [("size=1m", 900_000, 1, "store-full"), ("size=4m,nr_inodes=41", 0, 30, "no-inodes")],
)
@pytest.mark.fault(7, 8)
async def test_a_full_store_pauses_intake_until_there_is_room(
    tmp_path: Path, options: str, filler_bytes: int, fillers: int, reason: str
) -> None:
    for rig in _mounted(tmp_path, options):
        filler = rig.root / ".librarian/trash/filler"
        filler.mkdir()
        for number in range(fillers):
            (filler / str(number)).write_bytes(bytes(filler_bytes))
        names = ["a", "b", "c/d", "e"]
        for name in names:
            rig.dropped(name, os.urandom(100_000))
        async with rig.running(complete="rename") as intake:
            await rig.until(lambda: intake.snapshot().state == "paused")
            assert intake.snapshot().detail.startswith(f"{reason}: ")
            assert (reason, str(rig.drop)) in rig.incidents.now
            await asyncio.sleep(0.3)
            assert rig.ledger.accepted == []
            # An attempt may be under way just now; what it staged goes with it.
            await rig.until(partial(_is_empty, rig.root / ".librarian/staging"))
            assert len([path for path in rig.claimed() if path.is_file()]) == 4
            for path in filler.iterdir():
                path.unlink()
            await rig.accepted(*names)
            await rig.until(lambda: intake.snapshot().state != "paused")
            await rig.until(partial(_is_empty, rig.drop / ".claimed"))
        assert rig.incidents.now == {}
        assert rig.claimed() == []


async def test_a_store_that_fails_while_the_next_batch_is_claimed_pauses_and_all_of_it_goes_on(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("librarian_daemon.intake.service.BATCH_FILES", 1)
    names = [f"d/{number}" for number in range(6)]
    for name in names:
        rig.dropped(name)
    failing = True

    def fsync_beneath(_: int, __: bytes) -> None:
        if failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("librarian_daemon.stores.posix.placer.fsync_beneath", fsync_beneath)
    async with rig.running(complete="rename") as intake:
        await rig.until(lambda: intake.snapshot().state == "paused")
        assert rig.ledger.accepted == []
        failing = False
        await rig.accepted(*names)
        await rig.until(lambda: rig.claimed() == [])
        await rig.until(lambda: intake.snapshot().state != "paused")
    assert sorted(rig.ledger.names) == names
    assert rig.ledger.landings == {}
    assert os.listdir(rig.root / ".librarian/staging") == []


async def test_a_store_that_is_not_mounted_pauses_intake_until_it_is(rig: Rig, tmp_path: Path) -> None:
    await rig.store.open()
    rig.root.rename(tmp_path / "away")
    rig.root.mkdir()
    rig.dropped("x")
    intake = rig.intake(complete="rename")
    await intake.recover()
    task = asyncio.create_task(intake.run())
    await rig.until(lambda: intake.snapshot().state == "paused")
    assert ("store-not-mounted", str(rig.drop)) in rig.incidents.now
    assert list(rig.root.iterdir()) == []
    rig.root.rmdir()
    (tmp_path / "away").rename(rig.root)
    await rig.accepted("x")
    await rig.until(lambda: rig.incidents.now == {})
    task.cancel()
    await asyncio.wait([task])


async def test_a_paused_intake_says_when_it_tries_again_which_is_soon(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "FIRST_S", 1000.0)
    monkeypatch.setattr(backoff, "LONGEST_S", 1000.0)
    rig.dropped("x")
    async with rig.running(watch="poll", quiet_s=1.0) as intake:
        (rig.root / ".librarian").rename(tmp_path / "away")
        await rig.until(lambda: intake.snapshot().state == "paused")
        detail = intake.snapshot().detail
    assert detail.startswith("store-not-mounted: ")
    seconds = re.search(r"; tried again in (\d+) s$", detail)
    assert seconds is not None
    assert 25 <= int(seconds[1]) <= 30


@pytest.mark.parametrize("step", ["standing", "begin", "begun", "accept", "accepted"])
async def test_a_catalog_that_fails_for_a_while_costs_time_only(rig: Rig, step: str) -> None:
    failures = 3

    def fail(now: str) -> None:
        nonlocal failures
        if now == step and failures:
            failures -= 1
            raise CatalogFault("the disk under the catalog is full")

    names = ["a", "b/c", "d"]
    for name in names:
        rig.dropped(name, name.encode())
    rig.ledger.hook = fail
    async with rig.running(complete="rename"):
        await rig.accepted(*names)
        await rig.until(lambda: rig.incidents.now == {} and rig.claimed() == [])
    assert ("catalog-fault", str(rig.drop)) in rig.incidents.ever
    assert rig.ledger.landings == {}
    assert rig.rejected() == {}


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.fault(10)
async def test_a_failed_fsync_is_never_tried_again_on_the_same_bytes(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, *, copied: bool
) -> None:
    path = rig.dropped("x", b"precious")
    inode = path.stat().st_ino
    if copied:
        os.link(path, rig.root.parent / "second-link")
    failed: list[int] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        if not failed and os.fstat(fd).st_size == len(b"precious"):
            failed.append(os.fstat(fd).st_ino)
            raise OSError(errno.EIO, "Input/output error")
        assert copied or os.fstat(fd).st_ino not in failed  # a discarded file's inode may come again
        real(fd)

    monkeypatch.setattr("librarian_daemon.stores.posix.sealer.os.fsync", fsync)
    async with rig.running(complete="rename"):
        await rig.accepted("x")
        await rig.until(lambda: rig.incidents.now == {})
    assert len(failed) == 1
    assert ("store-fault", str(rig.drop)) in rig.incidents.ever
    assert (rig.root / "x").stat().st_ino != inode
    assert (rig.root / "x").read_bytes() == b"precious"


async def test_events_lost_by_the_kernel_are_made_up_for_by_a_walk(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = Path("/proc/sys/fs/inotify/max_queued_events")
    before = limit.read_text()
    try:
        limit.write_text("16")
    except OSError:
        pytest.skip("setting fs.inotify.max_queued_events is not permitted here")
    try:
        async with rig.running(walk_every_s=3600.0, watch="inotify"):
            names = [f"d/f{number}" for number in range(400)]
            for name in names:  # the loop does not run meanwhile, so the queue overflows
                rig.dropped(name)
            await rig.accepted(*names)
    finally:
        limit.write_text(before)


async def test_more_events_than_are_remembered_are_made_up_for_by_a_walk(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "MOST", 5)
    async with rig.running(walk_every_s=3600.0, watch="inotify"):
        names = [f"d/f{number}" for number in range(100)]
        for name in names:
            rig.dropped(name)
        await rig.accepted(*names)


async def test_without_more_watches_intake_polls_and_says_so(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("asyncinotify.Inotify.add_watch", no_more)
    async with rig.running(watch="inotify") as intake:
        assert intake.snapshot().state == "polling"
        assert "max_user_watches" in intake.snapshot().detail
        rig.dropped("x")
        await rig.accepted("x")


@pytest.mark.parametrize("watch", ["poll", "inotify"])
async def test_a_drop_directory_that_is_moved_away_pauses_intake_until_there_is_one(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watch: str
) -> None:
    monkeypatch.setattr("librarian_daemon.intake.service._LONGEST_WAIT_S", 0.1)
    async with rig.running(watch=watch) as intake:
        rig.drop.rename(tmp_path / "away")
        await rig.until(lambda: intake.snapshot().state == "paused")
        assert f"drop directory {rig.drop} does not exist" in intake.snapshot().detail
        assert ("store-not-mounted", str(rig.drop)) in rig.incidents.now
        await asyncio.sleep(0.3)
        assert not rig.drop.exists()
        rig.drop.mkdir()
        rig.dropped("x")
        await rig.accepted("x")
        await rig.until(lambda: rig.incidents.now == {})
        rig.dropped("y")  # heard of in the new directory as well
        await rig.accepted("x", "y")


async def test_a_drop_directory_that_is_missing_at_the_start_is_not_made(rig: Rig) -> None:
    rig.drop.rmdir()
    async with rig.running() as intake:
        assert intake.snapshot().state == "paused"
        assert not rig.drop.exists()
        rig.drop.mkdir()
        rig.dropped("x")
        await rig.accepted("x")
        await rig.until(lambda: intake.snapshot().state != "paused")


async def test_a_directory_that_may_not_be_read_is_shown_and_hides_no_other(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.dropped("locked/x")
    rig.dropped("open/y")
    real = os.scandir
    locked = os.stat(rig.drop / "locked").st_ino

    def scandir(fd: int) -> object:
        if os.fstat(fd).st_ino == locked and not unlocked:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(fd)

    unlocked: list[bool] = []
    monkeypatch.setattr("librarian_daemon.intake.directory.scanner.os.scandir", scandir)
    async with rig.running(watch="poll") as intake:
        await rig.accepted("open/y")
        await rig.until(
            lambda: (
                [(item.name, item.reason) for item in intake.snapshot().waiting_items] == [("locked", "not-readable")]
            )
        )
        unlocked.append(True)
        await rig.accepted("open/y", "locked/x")
        await rig.until(lambda: intake.snapshot().waiting == 0)


async def test_what_was_claimed_before_a_person_paused_intake_waits_by_name_over_a_restart(rig: Rig) -> None:
    """Its bytes stay where they are: the store may be what is worked on."""
    claimed = rig.dropped(".claimed/0011223344556677/obs/a.fits")
    rig.put_off = "paused until tomorrow by anna: new disks"
    rig.dropped("b.fits")
    async with rig.running(complete="rename") as intake:
        await rig.until(lambda: len(intake.snapshot().waiting_items) == 2)
        seen = intake.snapshot()
        assert {(item.name, item.reason) for item in seen.waiting_items} == {
            ("obs/a.fits", "paused"),
            ("b.fits", "paused"),
        }
        assert (seen.state, seen.detail, seen.waiting_for) == ("maintenance", rig.put_off, {"paused": 2})
        assert claimed.exists()
        rig.put_off = ""
        intake.look_again()
        await rig.accepted("obs/a.fits", "b.fits")
        assert intake.snapshot().waiting == 0
