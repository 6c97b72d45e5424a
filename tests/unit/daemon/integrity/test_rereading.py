"""Instances are read whole, at a rate, and within hours of the day."""

from __future__ import annotations

from tests.support.memory_store import MemoryStore
from tests.support.memory_volume import Inode, Volume

from librarian_daemon.catalog.integrity.instances import Holding
from librarian_daemon.integrity.rereading import CHUNK_BYTES, Pace, is_right
from librarian_protocol import manifest
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Unit
from librarian_protocol.manifest import MemberFile
from librarian_protocol.names import MemberPath, Name
from librarian_protocol.scrub import Hours

DAY_S = 86400


class FakeClock:
    """Time passes only where somebody sleeps, and a second with each look at the wall clock."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.looks = 0
        self.slept: list[float] = []

    def utc(self) -> str:
        return ""

    def unix_s(self) -> int:
        self.looks += 1
        return int(self.now_s)

    def boottime_s(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


def store(**files: bytes) -> MemoryStore:
    volume = Volume()
    volume.named = {name: Inode(data) for name, data in files.items()}
    return MemoryStore(volume, id_="0" * 32, label="main")


def holding(name: str, data: bytes, unit: Unit = Unit.FILE, size_bytes: int | None = None) -> Holding:
    return Holding(
        file_id=1,
        name=Name(name),
        digest=Digest.blake3(data),
        size_bytes=len(data) if size_bytes is None else size_bytes,
        unit=unit,
        store="0" * 32,
        state="available",
        doubted=False,
    )


async def test_reading_takes_as_long_as_its_rate_says() -> None:
    clock, data = FakeClock(), bytes(3 * CHUNK_BYTES)
    assert await is_right(store(a=data), holding("a", data), Pace(clock, CHUNK_BYTES / 2))
    assert sum(clock.slept) == 2 * len(data) / CHUNK_BYTES


async def test_small_files_do_not_sleep_for_each_of_them() -> None:
    clock = FakeClock()
    pace = Pace(clock, 1 << 20)
    for _ in range(10):
        assert await is_right(store(a=b"x" * 1000), holding("a", b"x" * 1000), pace)
    assert clock.slept == []
    for _ in range(40):
        assert await is_right(store(a=b"x" * 1000), holding("a", b"x" * 1000), pace)
    assert 0 < len(clock.slept) < 5


async def test_outside_of_its_hours_it_waits_and_then_goes_on_where_it_was() -> None:
    clock, data = FakeClock(), bytes(range(256)) * (3 * CHUNK_BYTES // 256)
    pace = Pace(clock, CHUNK_BYTES / 3600)  # an hour for each MiB
    pace.hours = Hours(0, 2 * 3600)
    assert await is_right(store(a=data), holding("a", data), pace)
    assert max(clock.slept) == 22 * 3600
    assert clock.now_s >= DAY_S


async def test_a_changed_or_missing_file_is_not_right() -> None:
    pace = Pace(FakeClock(), 1e9)
    assert not await is_right(store(a=b"good"), holding("a", b"evil"), pace)
    assert not await is_right(store(), holding("a", b"good"), pace)
    assert await is_right(store(a=b""), holding("a", b""), pace)


async def test_each_member_of_a_book_is_read() -> None:
    members = {"m/one": b"1", "two": b"22"}
    text = manifest.HEADER + b"".join(
        manifest.line(MemberFile(MemberPath(path), len(data), Digest.blake3(data))) for path, data in members.items()
    )
    book = holding("book", text, Unit.BOOK, size_bytes=3)
    pace = Pace(FakeClock(), 1e9)
    held = store(**{f"book/{path}": data for path, data in members.items()})
    assert not await is_right(held, book, pace), "there is no manifest"
    held.volume.manifests[book.digest.hex] = text
    assert await is_right(held, book, pace)
    held.volume.named["book/two"] = Inode(b"2!")
    assert not await is_right(held, book, pace)
    del held.volume.named["book/two"]
    assert not await is_right(held, book, pace)
