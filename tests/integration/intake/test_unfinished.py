"""What is not finished is not taken: what a stopped rsync left, temporary names, books between two members."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.intake import Rig

from librarian_daemon.intake.directory.file_times import born_ns, has_set_time

RSYNC = pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    made = Rig(tmp_path)
    (made.drop / "probe").write_bytes(b"")
    fd = os.open(made.drop / "probe", os.O_RDONLY)
    keeps = born_ns(fd) is not None
    os.close(fd)
    (made.drop / "probe").unlink()
    if not keeps:
        pytest.skip("this filesystem does not keep when a file was made")
    return made


def rsync(*arguments: str | Path) -> None:
    subprocess.run(["rsync", *map(str, arguments)], check=True, timeout=60)


def source(tmp_path: Path, name: str, size_bytes: int) -> Path:
    """A file of an hour ago."""
    path = tmp_path / "source" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(os.urandom(size_bytes))
    then = time.time() - 3600
    os.utime(path, (then, then))
    return path


def stopped(*arguments: str | Path, when: Callable[[], bool], by: signal.Signals) -> None:
    """Run rsync slowly, and stop it as soon as something is so."""
    command = ["rsync", "--bwlimit=200", *map(str, arguments)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True) as running:
        while not when():
            assert running.poll() is None
            time.sleep(0.01)
        os.killpg(running.pid, by)  # all of its processes, as Ctrl-C in a terminal does


def _receives(directory: Path, name: str) -> Callable[[], bool]:
    """Whether rsync has written something of a file."""
    return lambda: any(path.stat().st_size for path in directory.glob(f".{name}.??????"))


@RSYNC
async def test_what_rsync_was_stopped_at_waits_and_its_second_run_is_taken(rig: Rig, tmp_path: Path) -> None:
    whole = source(tmp_path, "x.fits", 2_000_000)
    async with rig.running() as intake:
        stopped("-atP", whole, rig.drop, when=_receives(rig.drop, "x.fits"), by=signal.SIGINT)
        await rig.until((rig.drop / "x.fits").exists)  # its receiver ends after the process that was started
        assert (rig.drop / "x.fits").stat().st_size < 2_000_000
        await rig.until(lambda: [item.reason for item in intake.snapshot().waiting_items] == ["not-seen-finished"])
        await rig.until(lambda: ("intake-stuck", f"{rig.drop}: not-seen-finished") in rig.incidents.now)
        assert rig.ledger.accepted == []
    async with rig.running(watch="poll") as intake:  # its time says so also where nothing was seen
        await rig.until(lambda: [item.reason for item in intake.snapshot().waiting_items] == ["not-seen-finished"])
        rsync("-atP", whole, rig.drop)
        await rig.accepted("x.fits")
        await rig.until(lambda: rig.incidents.now == {})
    assert rig.ledger.accepted[0].size_bytes == 2_000_000


@RSYNC
async def test_a_finished_file_of_rsync_is_taken_at_once_if_its_time_was_set(rig: Rig, tmp_path: Path) -> None:
    async with rig.running(quiet_s=30.0) as intake:
        rsync("-a", source(tmp_path, "a", 10), rig.drop)
        await rig.accepted("a")
        rsync("-r", source(tmp_path, "b", 10), rig.drop)
        await rig.until(lambda: [item.reason for item in intake.snapshot().waiting_items] == ["not-seen-finished"])
        (rig.drop / "b").rename(tmp_path / "b")
        (tmp_path / "b").rename(rig.drop / "b")
        await rig.accepted("a", "b")


@RSYNC
async def test_a_book_at_which_rsync_was_stopped_waits_and_says_at_which_member(rig: Rig, tmp_path: Path) -> None:
    for number in range(2):
        source(tmp_path, f"f{number}.fits", 1_000_000)
    arguments = ("-aP", f"{tmp_path}/source/", rig.drop / "bk")
    async with rig.running(unit="book") as intake:
        stopped(*arguments, when=_receives(rig.drop / "bk", "f0.fits"), by=signal.SIGINT)
        await rig.until(
            lambda: (
                [(item.reason, item.detail) for item in intake.snapshot().waiting_items]
                == [("holds-unfinished", "f0.fits")]
            )
        )
        rsync(*arguments)
        await rig.accepted("bk")
    assert rig.ledger.accepted[0].members == 2


@RSYNC
async def test_with_delayed_updates_a_file_is_taken_when_all_have_come(rig: Rig, tmp_path: Path) -> None:
    async with rig.running(quiet_s=30.0):
        rsync("-r", "--delay-updates", source(tmp_path, "a", 10), source(tmp_path, "b", 10), rig.drop)
        await rig.accepted("a", "b")


@RSYNC
async def test_a_book_of_an_rsync_that_was_killed_waits_and_says_by_which_name(rig: Rig, tmp_path: Path) -> None:
    for number in range(3):
        source(tmp_path, f"f{number}.fits", 1_000_000 * (number == 2) + 10)
    arguments = ("-a", f"{tmp_path}/source/", rig.drop / "bk")
    async with rig.running(unit="book", walk_every_s=0.2) as intake:
        stopped(*arguments, when=lambda: any(rig.drop.glob("bk/.f2.fits.??????")), by=signal.SIGKILL)
        await rig.until(
            lambda: (
                [(item.reason, item.detail[:9]) for item in intake.snapshot().waiting_items]
                == [("holds-unfinished", ".f2.fits.")]
            )
        )
        await rig.until(lambda: ("intake-stuck", f"{rig.drop}: holds-unfinished") in rig.incidents.now)
        assert rig.ledger.accepted == []
        rsync(*arguments)
        next(rig.drop.glob("bk/.f2.fits.??????")).unlink()
        await rig.accepted("bk")
        await rig.until(lambda: rig.incidents.now == {})
    assert rig.ledger.accepted[0].members == 3


async def test_only_what_is_moved_in_is_taken_where_that_is_asked_for(rig: Rig, tmp_path: Path) -> None:
    rig.dropped("before")
    async with rig.running(complete="moved") as intake:
        rig.dropped("in-place")
        await rig.until(
            lambda: (
                {item.name: item.reason for item in intake.snapshot().waiting_items}
                == {"before": "not-seen-moved", "in-place": "not-seen-moved"}
            )
        )
        (tmp_path / "y").write_bytes(b"whole")
        (tmp_path / "y").rename(rig.drop / "y")
        await rig.accepted("y")
        await rig.until(lambda: rig.incidents.numbers.get(("intake-stuck", f"{rig.drop}: not-seen-moved")) == 2)
        for name in ("before", "in-place"):
            (rig.drop / name).rename(tmp_path / name)
            (tmp_path / name).rename(rig.drop / name)
        await rig.accepted("y", "before", "in-place")
        await rig.until(lambda: rig.incidents.now == {})


async def test_a_second_longer_file_under_the_name_is_told_that_the_first_may_be_unfinished(rig: Rig) -> None:
    async with rig.running() as intake:
        rig.dropped("x", b"begin")
        await rig.accepted("x")
        rig.dropped("x", b"begin and end")
        await rig.until(lambda: intake.snapshot().refused == 1)
        assert (
            "These are longer, 13 bytes to 5: the first may have been taken before it was finished"
            in (rig.rejected()["x"])
        )
        rig.dropped("x", b"beg")
        await rig.until(lambda: intake.snapshot().refused == 2)
    told = [path.read_text() for path in rig.drop.glob(".rejected/*/REASON.txt")]
    assert sum("These are longer" in text for text in told) == 1


async def test_what_is_passed_over_is_counted_by_glob_and_listed(rig: Rig) -> None:
    for name in (".DS_Store", "._x.fits", "a/.stylelintrc", "x.filepart", "a/y.part", "lost+found/z", "~"):
        rig.dropped(name)
    async with rig.running() as intake:
        await rig.accepted("~")
        assert intake.snapshot().ignored == {".*": 3, "*.filepart": 1, "*.part": 1, "lost+found": 1}
        found = [ignored async for portion in intake.contents.ignored() for ignored in portion]
    assert {(ignored.rel, ignored.glob) for ignored in found} == {
        (b".DS_Store", ".*"),
        (b"._x.fits", ".*"),
        (b"a/.stylelintrc", ".*"),
        (b"x.filepart", "*.filepart"),
        (b"a/y.part", "*.part"),
        (b"lost+found", "lost+found"),
    }


def test_a_time_that_was_set_is_told_from_one_that_came_by_writing(rig: Rig) -> None:
    path = rig.dropped("x", b"1")
    drop = os.open(rig.drop, os.O_RDONLY)
    try:
        assert not has_set_time(drop, b"x")
        path.write_bytes(b"12")
        assert not has_set_time(drop, b"x")
        for at in (time.time() - 3600, time.time() + 3600):
            os.utime(path, (at, at))
            assert has_set_time(drop, b"x")
        os.utime(path, ns=(1, 845_175_515))
        assert not has_set_time(drop, b"x"), "that is what a stopped rsync sets"
        assert not has_set_time(drop, b"gone")
    finally:
        os.close(drop)
