"""Nothing is accepted while somebody could still be writing to it; what others own or share is never renamed."""

from __future__ import annotations

import asyncio
import fcntl
import mmap
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.support.intake import Rig
from tests.support.mounts import tmpfs

from librarian_daemon.intake.directory.lease import StillWritten, check_unwritten, unwritten
from librarian_protocol.digests import Digest

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="changing owners takes root")


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


@pytest.mark.parametrize("complete", ["quiet", "rename"])
async def test_a_file_open_for_writing_waits_until_it_is_closed(rig: Rig, complete: str) -> None:
    with (rig.drop / "x").open("wb") as file:
        file.write(b"begin")
        file.flush()
        async with rig.running(complete=complete) as intake:
            await rig.until(
                lambda: [item.reason for item in intake.snapshot().waiting_items] == ["still-being-written"]
            )
            file.write(b" and end")
            file.close()
            await rig.accepted("x")
    assert rig.ledger.accepted[0].digest == Digest.blake3(b"begin and end")


@pytest.mark.fault(35)
async def test_a_mapped_file_waits_although_it_is_closed_and_its_times_stand_still(rig: Rig) -> None:
    path = rig.dropped("x", bytes(4096))
    with path.open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 4096)
    async with rig.running() as intake:
        await rig.until(lambda: [item.reason for item in intake.snapshot().waiting_items] == ["still-being-written"])
        mapped[:4] = b"late"
        mapped.close()
        await rig.accepted("x")
    assert rig.ledger.accepted[0].digest == Digest.blake3(b"late" + bytes(4092))


async def test_a_book_with_a_member_open_for_writing_waits(rig: Rig) -> None:
    rig.dropped("book/done")
    with (rig.drop / "book/open").open("wb") as file:
        async with rig.running(unit="book", complete="rename") as intake:
            await rig.until(
                lambda: [item.reason for item in intake.snapshot().waiting_items] == ["still-being-written"]
            )
            file.write(b"x")
            file.close()
            await rig.accepted("book")
    assert rig.ledger.accepted[0].size_bytes == 5


async def _written_in_bursts(rig: Rig, **settings: Any) -> list[bytes]:
    """Every piece of the file that came to rest anywhere."""

    def write() -> None:
        for number in range(20):
            with (rig.drop / "x").open("ab") as file:
                file.write(b"%09d\n" % number)
            pause.wait(0.02)

    pause = threading.Event()
    writer = threading.Thread(target=write)
    async with rig.running(**settings):
        writer.start()
        await rig.until(lambda: not writer.is_alive())
        await rig.until(lambda: not (rig.drop / "x").exists() and rig.claimed() == [])
    return [path.read_bytes() for path in [rig.root / "x", *rig.drop.glob(".rejected/*/x")]]


async def test_a_file_written_to_in_bursts_is_accepted_once_it_is_quiet(rig: Rig) -> None:
    pieces = await _written_in_bursts(rig, quiet_s=0.3)
    assert [len(piece) for piece in pieces] == [200]


async def test_a_writer_who_breaks_the_rule_of_renaming_loses_nothing(rig: Rig) -> None:
    pieces = await _written_in_bursts(rig, complete="rename", quiet_s=0.1)
    lines = {line for piece in pieces for line in piece.splitlines()}
    assert lines == {b"%09d" % number for number in range(20)}


@pytest.mark.fault(35)
def test_a_writer_who_comes_while_a_file_is_read_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"1")
    fd = os.open(path, os.O_RDONLY)
    try:
        with pytest.raises(StillWritten, match="opened it"), unwritten(fd), pytest.raises(BlockingIOError):
            os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        check_unwritten(fd)
        assert fcntl.fcntl(fd, fcntl.F_GETLEASE) == fcntl.F_UNLCK
    finally:
        os.close(fd)


def test_a_change_while_a_file_is_read_is_noticed_without_leases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"1")

    def no_leases(_: int) -> bool:
        return False

    monkeypatch.setattr("librarian_daemon.intake.directory.lease._lease", no_leases)
    fd = os.open(path, os.O_RDONLY)
    try:
        with pytest.raises(StillWritten, match="changed"), unwritten(fd):
            path.write_bytes(b"12")
    finally:
        os.close(fd)


@ROOT_ONLY
async def test_anothers_file_is_copied_not_renamed(rig: Rig) -> None:
    path = rig.dropped("x", b"theirs")
    os.chown(path, 12345, 12345)
    inode = path.stat().st_ino
    async with rig.running():
        await rig.accepted("x")
        await rig.until(lambda: rig.claimed() == [])
    stored = (rig.root / "x").stat()
    assert stored.st_ino != inode
    assert stored.st_uid == os.geteuid()
    assert rig.ledger.accepted[0].uploader == "12345"
    assert list((rig.root / ".librarian/staging").iterdir()) == []


@pytest.mark.parametrize("size_bytes", [10, 3_000_000])
@pytest.mark.fault(37)
async def test_a_file_with_a_second_link_is_copied_so_that_the_link_cannot_change_it(
    rig: Rig, tmp_path: Path, size_bytes: int
) -> None:
    path = rig.dropped("x", bytes(size_bytes))
    os.link(path, tmp_path / "other")
    async with rig.running():
        await rig.accepted("x")
        await rig.until(lambda: rig.claimed() == [])
    (tmp_path / "other").write_bytes(b"changed")
    assert (rig.root / "x").read_bytes() == bytes(size_bytes)


async def test_ones_own_file_is_renamed_not_copied(rig: Rig) -> None:
    inode = rig.dropped("x").stat().st_ino
    async with rig.running():
        await rig.accepted("x")
    assert (rig.root / "x").stat().st_ino == inode


async def test_where_others_may_change_the_drop_directory_files_are_copied(rig: Rig) -> None:
    rig.drop.chmod(0o777)
    inode = rig.dropped("x").stat().st_ino
    async with rig.running():
        await rig.accepted("x")
    assert (rig.root / "x").stat().st_ino != inode


async def test_a_drop_directory_on_another_filesystem_is_copied_from(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "drop", "size=16m"):
        rig = Rig(tmp_path)
        rig.dropped("a/small", b"1")
        rig.dropped("large", os.urandom(3_000_000))
        rig.dropped("many/5", b"5")
        async with rig.running():
            await rig.accepted("a/small", "large", "many/5")
            await rig.until(lambda: rig.claimed() == [])


@pytest.mark.fault(36)
async def test_a_file_that_vanishes_is_forgotten(rig: Rig) -> None:
    path = rig.dropped("x")
    async with rig.running(quiet_s=0.3) as intake:
        await rig.until(lambda: intake.snapshot().waiting == 1)
        path.unlink()
        await rig.until(lambda: intake.snapshot().waiting == 0)
        await asyncio.sleep(0.1)
        assert intake.snapshot().accepted == intake.snapshot().refused == 0
