"""Writing to staging past the page cache: every byte is right at every size, on every filesystem, after every fault."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import mmap
import os
import sys
import tempfile
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.source import noise
from tests.support.stores import file_item, posix

from librarian_adapters.contract import Sink
from librarian_daemon.stores.posix.store import PosixStore
from librarian_protocol.digests import Digest
from librarian_protocol.errors import StoreFull

PIECE_BYTES = 1 << 20
SIZES = [0, 1, 4095, 4096, 4097, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES + 5000]
DATA = noise(5 * PIECE_BYTES + 777)


def places() -> list[str]:
    return ["disk", *(["memory"] if os.path.isdir("/dev/shm") else [])]


@pytest.fixture(params=places())
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Path]:
    """A directory on a disk's filesystem, and one in memory."""
    if request.param == "disk":
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory)


@pytest.fixture
async def store(place: Path) -> AsyncGenerator[PosixStore]:
    store = posix(place / "store")
    await store.open()
    with closing(store):
        yield store


def is_direct(fd: int) -> bool:
    return bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT)


class Writes:
    """Every ``os.write``: its size, and whether it went past the page cache. ``fail`` may raise before one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.direct: list[int] = []
        self.buffered: list[int] = []
        self.fail: Callable[[int, bool], None] = lambda _size, _direct: None
        write = os.write

        def watched(fd: int, data: memoryview) -> int:
            self.fail(len(data), is_direct(fd))
            written = write(fd, data)
            (self.direct if is_direct(fd) else self.buffered).append(written)
            return written

        monkeypatch.setattr(os, "write", watched)


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> Writes:
    return Writes(monkeypatch)


def pages(data: bytes) -> memoryview:
    """The bytes in memory that begins at a page."""
    buffer = mmap.mmap(-1, max(len(data), 1))
    buffer[: len(data)] = data
    return memoryview(buffer)[: len(data)]


async def write(sink: Sink, data: bytes) -> None:
    """Piece by piece."""
    for at in range(0, len(data), PIECE_BYTES):
        await sink.write(pages(data[at : at + PIECE_BYTES]))


def content(store: PosixStore, key: str = "k") -> bytes:
    return (Path(store.staging_root) / key).read_bytes()


def takes_direct(directory: Path) -> bool:
    """Whether the filesystem there writes past the page cache."""
    fd = os.open(directory / "probe", os.O_WRONLY | os.O_CREAT)
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_DIRECT)
        os.write(fd, pages(bytes(4096)))
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


@pytest.mark.parametrize("size_bytes", SIZES)
async def test_every_size_is_written_whole(store: PosixStore, size_bytes: int) -> None:
    data = DATA[:size_bytes]
    item = file_item("k", data)
    sink = await store.staging.create(item)
    await write(sink, data)
    await sink.close()
    assert content(store) == data
    for _ in ("as it was hashed", "as it is read"):
        assert await store.staging.read_back(item) == (size_bytes, item.digest)


@pytest.mark.parametrize("begun_bytes", [1, 4095, 4096, 4097, PIECE_BYTES, PIECE_BYTES + 1])
async def test_what_is_there_is_gone_on_with(store: PosixStore, begun_bytes: int) -> None:
    item = file_item("k", DATA)
    (Path(store.staging_root) / "k").write_bytes(DATA[:begun_bytes])
    sink = await store.staging.create(item, resume=True)
    assert sink.offset == begun_bytes
    first = begun_bytes + (-begun_bytes % PIECE_BYTES)
    await sink.write(pages(DATA[begun_bytes:first]))
    await write(sink, DATA[first:])
    await sink.close()
    assert await store.staging.read_back(item) == (len(DATA), item.digest)


async def test_whole_pages_go_past_the_page_cache_and_the_tail_does_not(tmp_path: Path, writes: Writes) -> None:
    if not takes_direct(tmp_path):
        pytest.skip("this filesystem writes nothing past the page cache")
    store = posix(tmp_path / "store")
    await store.open()
    writes.direct, writes.buffered = [], []
    sink = await store.staging.create(file_item("k", DATA))
    await write(sink, DATA)
    await sink.close()
    store.close()
    assert writes.direct == [PIECE_BYTES] * 5
    assert writes.buffered == [777]
    assert content(store) == DATA


async def test_zeros_take_no_room_there_either(store: PosixStore) -> None:
    data = bytes(PIECE_BYTES) + b"x" * 4096 + bytes(2 * PIECE_BYTES)
    item = file_item("k", data)
    sink = await store.staging.create(item)
    await write(sink, data)
    await sink.close()
    assert content(store) == data
    assert (Path(store.staging_root) / "k").stat().st_blocks * 512 <= 8192


@pytest.mark.parametrize("after", [0, 2])
async def test_a_filesystem_that_refuses_is_written_as_usual(store: PosixStore, writes: Writes, after: int) -> None:
    """At once, or from somewhere on; and it is not asked again."""
    refused: list[int] = []

    def fail(size_bytes: int, direct: bool) -> None:
        if direct and len(writes.direct) >= after:
            refused.append(size_bytes)
            raise OSError(errno.EINVAL, "Invalid argument")

    writes.fail = fail
    item = file_item("k", DATA)
    sink = await store.staging.create(item)
    await write(sink, DATA)
    await sink.close()
    assert content(store) == DATA
    assert await store.staging.read_back(item) == (len(DATA), item.digest)
    assert len(refused) <= 1


async def test_a_full_disk_is_said_and_what_was_written_is_gone_on_with(store: PosixStore, writes: Writes) -> None:
    full = True

    def fail(_size_bytes: int, _direct: bool) -> None:
        if full and len(writes.direct) + len(writes.buffered) >= 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    writes.direct, writes.buffered, writes.fail = [], [], fail
    item = file_item("k", DATA)
    sink = await store.staging.create(item)
    with pytest.raises(StoreFull):
        await write(sink, DATA)
    await sink.close()
    assert await store.staging.read_back(item) == (2 * PIECE_BYTES, Digest.blake3(DATA[: 2 * PIECE_BYTES]))
    full = False
    sink = await store.staging.create(item, resume=True)
    await write(sink, DATA[sink.offset :])
    await sink.close()
    assert await store.staging.read_back(item) == (len(DATA), item.digest)


async def test_a_write_after_one_that_failed_is_not_hashed_as_if_nothing_had_happened(
    store: PosixStore, writes: Writes
) -> None:
    def fail(_size_bytes: int, _direct: bool) -> None:
        writes.fail = lambda _size, _direct: None
        raise OSError(errno.ENOSPC, "No space left on device")

    writes.fail = fail
    sink = await store.staging.create(file_item("k", DATA))
    with pytest.raises(StoreFull):
        await sink.write(pages(DATA[:PIECE_BYTES]))
    await sink.write(pages(DATA[PIECE_BYTES : 2 * PIECE_BYTES]))
    await sink.close()
    there = content(store)
    assert await store.staging.read_back(file_item("k", DATA)) == (len(there), Digest.blake3(there))


@pytest.mark.parametrize("way", ["sink", "put"])
async def test_what_was_changed_since_is_read(store: PosixStore, way: str) -> None:
    item = file_item("k", DATA)
    if way == "put":
        await store.staging.put([(item, DATA)])
    else:
        sink = await store.staging.create(item)
        await write(sink, DATA)
        await sink.close()
    path = Path(store.staging_root) / "k"
    closed_ns = path.stat().st_ctime_ns
    probe = path.with_name("probe")
    probe.touch()
    while probe.stat().st_ctime_ns == closed_ns:  # the filesystem's clock has moved on
        probe.touch()
    with path.open("r+b") as file:
        file.write(b"?")
    assert await store.staging.read_back(item) == (len(DATA), Digest.blake3(b"?" + DATA[1:]))


async def test_what_was_there_before_is_read(store: PosixStore) -> None:
    """Of what an earlier attempt staged nobody knows whether it is right."""
    item = file_item("k", DATA)
    (Path(store.staging_root) / "k").write_bytes(b"?" * PIECE_BYTES)
    sink = await store.staging.create(item, resume=True)
    await write(sink, DATA[PIECE_BYTES:])
    await sink.close()
    wrong = b"?" * PIECE_BYTES + DATA[PIECE_BYTES:]
    assert await store.staging.read_back(item) == (len(DATA), Digest.blake3(wrong))


async def test_what_was_written_past_the_sink_is_read(store: PosixStore) -> None:
    item = file_item("k", DATA)
    sink = await store.staging.create(item)
    fd = sink.fileno()
    assert fd is not None
    os.write(fd, b"past it")
    await sink.close()
    assert await store.staging.read_back(item) == (7, Digest.blake3(b"past it"))


async def test_a_cancellation_waits_for_the_write_under_way(store: PosixStore, writes: Writes) -> None:
    writing, go_on = threading.Event(), threading.Event()

    def hang(_size_bytes: int, _direct: bool) -> None:
        writing.set()
        go_on.wait()

    writes.fail = hang
    sink = await store.staging.create(file_item("k", DATA))
    buffer = pages(DATA[:PIECE_BYTES])
    task = asyncio.create_task(sink.write(buffer))
    await asyncio.to_thread(writing.wait)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert content(store) == DATA[:PIECE_BYTES]
    await sink.close()


KILLED = """
import asyncio, sys
from pathlib import Path
from tests.unit.daemon.stores.test_sink import DATA, PIECE_BYTES, pages
from tests.support.stores import file_item, posix

async def main():
    store = posix(Path(sys.argv[1]))
    await store.open()
    sink = await store.staging.create(file_item("k", DATA * 100))
    for number in range(500):
        at = number * PIECE_BYTES % (5 * PIECE_BYTES)
        await sink.write(pages(DATA[at:at + PIECE_BYTES]))
        print(number, flush=True)

asyncio.run(main())
"""


async def test_after_a_kill_every_byte_that_stands_there_is_right(place: Path) -> None:
    """As far as the file goes, it is what was to be written."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, str(place / "store"), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    for _ in range(7):
        assert await child.stdout.readline()
    child.kill()
    await child.wait()
    store = posix(place / "store")
    await store.open()
    with closing(store):
        sink = await store.staging.create(file_item("k", DATA * 100), resume=True)
        await sink.close()
        there = content(store)
        assert len(there) == sink.offset >= 7 * PIECE_BYTES
        whole = DATA[: 5 * PIECE_BYTES]
        assert there == (whole * (len(there) // len(whole) + 1))[: len(there)]
