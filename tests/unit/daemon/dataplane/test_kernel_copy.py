"""Files that the kernel sends: what arrives, who is at fault when it ends early, who is waited for and how long."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.source import noise

from librarian_daemon.dataplane.kernel_copy import PIECE_BYTES, CannotCopy, Cut, KernelCopy

DATA = noise((9 << 20) + 12_345)


class Rig:
    """A file, and a connection to somebody who reads or does not."""

    def __init__(self, root: Path) -> None:
        (root / "file").write_bytes(DATA)
        self.file = os.open(root / "file", os.O_RDONLY)
        self.near, self.far = socket.socketpair()
        for end in (self.near, self.far):
            end.setblocking(False)
        self.may_go_on = True

    def copy(self, begin: int = 0, end: int = len(DATA), stall_s: float = 10.0) -> KernelCopy:
        return KernelCopy(self.file, begin, end, self.near, stall_s=stall_s, may_go_on=lambda: self.may_go_on)

    async def read(self, size_bytes: int) -> bytes:
        """What the other side gets."""
        got = bytearray()
        loop = asyncio.get_running_loop()
        while len(got) < size_bytes:
            got += await loop.sock_recv(self.far, 1 << 16)
        return bytes(got)

    def close(self) -> None:
        os.close(self.file)
        self.near.close()
        self.far.close()


@pytest.fixture
def rig(tmp_path: Path) -> Generator[Rig]:
    with closing(Rig(tmp_path)) as rig:
        yield rig


@pytest.mark.parametrize("begin", [0, 1, 4 << 20, len(DATA) - 1])
async def test_the_bytes_from_an_offset_arrive(rig: Rig, begin: int) -> None:
    with closing(rig.copy(begin)) as copy:
        _, got = await asyncio.gather(copy.run(), rig.read(len(DATA) - begin))
    assert got == DATA[begin:]
    assert copy.at == len(DATA)


async def test_a_file_that_ends_early_is_sent_up_to_its_end(rig: Rig) -> None:
    with closing(rig.copy(end=len(DATA) + 10)) as copy:
        await asyncio.gather(copy.run(), rig.read(len(DATA)))
    assert copy.at == len(DATA)


async def test_who_takes_nothing_is_cut_and_what_was_taken_is_known(rig: Rig) -> None:
    with closing(rig.copy(stall_s=0.05)) as copy, pytest.raises(Cut):
        await copy.run()
    assert await rig.read(copy.at) == DATA[: copy.at]


async def test_who_takes_each_piece_in_time_is_not_cut_however_long_it_takes_in_all(rig: Rig) -> None:
    rig.near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 10)
    began_s = asyncio.get_running_loop().time()
    end = 6 * PIECE_BYTES

    async def read_slowly() -> None:
        for _ in range(6):
            await rig.read(PIECE_BYTES)
            await asyncio.sleep(0.2)  # the other side's pace, which is what is tested

    with closing(rig.copy(end=end, stall_s=1.0)) as copy:
        await asyncio.gather(copy.run(), read_slowly())
    assert asyncio.get_running_loop().time() - began_s > 1.0
    assert copy.at == end


async def test_nothing_more_is_sent_to_a_site_that_is_to_get_no_more(rig: Rig) -> None:
    rig.may_go_on = False
    with closing(rig.copy()) as copy, pytest.raises(Cut):
        await copy.run()
    assert copy.at == 0


async def test_a_connection_that_broke_is_not_the_files_fault(rig: Rig) -> None:
    rig.far.close()
    with closing(rig.copy()) as copy, pytest.raises(ConnectionError):
        await copy.run()


def failing(number: int) -> Callable[..., int]:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail


async def test_an_error_that_reading_shows_too_is_the_files(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sendfile", failing(errno.EIO))
    with closing(rig.copy()) as copy, pytest.raises(ConnectionResetError):
        await copy.run()
    monkeypatch.setattr("os.pread", failing(errno.EIO))
    with closing(rig.copy()) as copy, pytest.raises(OSError, match="Input/output error") as raised:
        await copy.run()
    assert not isinstance(raised.value, ConnectionError)


async def test_a_file_that_the_kernel_does_not_send_is_said_to_be_one(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sendfile", failing(errno.EINVAL))
    with closing(rig.copy()) as copy, pytest.raises(CannotCopy):
        await copy.run()


async def test_after_a_cancellation_nothing_is_sent(rig: Rig) -> None:
    with closing(rig.copy()) as copy:
        sending = asyncio.create_task(copy.run())
        await rig.read(1)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        at = copy.at
    await rig.read(at - (1 << 16))
    rig.near.close()
    while await asyncio.get_running_loop().sock_recv(rig.far, 1 << 20):
        pass
    assert copy.at == at < len(DATA)
