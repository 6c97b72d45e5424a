"""What is dropped ends in the store under its name, accepted once."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from tests.support.intake import Rig

from librarian_daemon.intake import service
from librarian_daemon.intake.directory import examination
from librarian_protocol import wire
from librarian_protocol.digests import Digest
from librarian_protocol.entries import FileIngested
from librarian_protocol.names import Name

WEIRD = [
    "-rf",
    "--",
    "a b",
    "'quoted' \"twice\"",
    "émoji-🛰️.fits",
    "%41.txt",
    "#hash",
    "what?",
    "*",
    "[a-z]",
    "~",
    "$HOME",
    "back\\slash",
    "REASON.txt",
    "x" * 255,
    "é" * 127,
]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


@pytest.mark.parametrize("watch", ["inotify", "poll"])
async def test_a_file_written_while_watched_is_accepted(rig: Rig, watch: str) -> None:
    async with rig.running(watch=watch, poll_every_s=0.1) as intake:
        rig.dropped("a/b/c.fits", b"x" * 5000)
        await rig.accepted("a/b/c.fits")
        assert intake.snapshot().state == ("watching" if watch == "inotify" else "polling")
        assert intake.snapshot().accepted == 1
    assert (rig.root / "a/b/c.fits").stat().st_mode & 0o777 == 0o444


async def test_a_file_that_lay_there_before_the_start_is_accepted(rig: Rig) -> None:
    rig.dropped("old.fits")
    async with rig.running():
        await rig.accepted("old.fits")


async def test_the_entry_says_what_was_ingested(rig: Rig) -> None:
    path = rig.dropped("night/one.fits", b"12345")
    os.utime(path, ns=(1, 1_234_567_890_123_456_789))
    async with rig.running(prefix="raw/2026"):
        await rig.accepted("raw/2026/night/one.fits")
    entry = rig.ledger.accepted[0]
    assert (entry.size_bytes, entry.mtime_ns, entry.uploader) == (5, 1_234_567_890_123_456_789, "root")
    assert entry.digest == Digest.blake3(b"12345")
    assert entry.members is None


async def test_a_file_renamed_into_place_is_taken_at_once(rig: Rig) -> None:
    async with rig.running(quiet_s=30.0):
        rig.dropped("x.part", b"done").rename(rig.drop / "x.fits")
        await rig.accepted("x.fits", timeout_s=3.0)


async def test_a_directory_renamed_into_place_is_taken_whole_at_once(rig: Rig, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "deep/1").write_bytes(b"1")
    (outside / "2").write_bytes(b"2")
    async with rig.running(quiet_s=30.0):
        outside.rename(rig.drop / "night")
        await rig.accepted("night/deep/1", "night/2", timeout_s=3.0)


async def test_whatever_is_visible_is_complete_where_files_are_renamed_into_place(rig: Rig) -> None:
    async with rig.running(complete="rename", quiet_s=30.0):
        rig.dropped("x.fits")
        await rig.accepted("x.fits", timeout_s=3.0)


@pytest.mark.parametrize("name", WEIRD)
@pytest.mark.fault(32)
async def test_an_unusual_name_is_kept_to_the_byte(rig: Rig, name: str) -> None:
    rig.dropped(name)
    async with rig.running():
        await rig.accepted(name)
    assert rig.in_store() == [name]


@pytest.mark.fault(37)
async def test_a_sparse_file_is_accepted_and_stays_sparse(rig: Rig) -> None:
    size = 256 << 20
    made = rig.drop / ".making"
    with made.open("wb") as file:
        file.truncate(size - 4)
        file.seek(size - 4)
        file.write(b"tail")
    made.rename(rig.drop / "sparse")
    async with rig.running():
        await rig.accepted("sparse")
    stored = (rig.root / "sparse").stat()
    assert stored.st_size == size
    assert stored.st_blocks * 512 < 1 << 20


async def test_a_file_of_a_far_year_is_accepted(rig: Rig) -> None:
    """Filesystems know later years than 64 bits of nanoseconds do: what is said of them can still be said."""
    made = rig.drop / ".making"
    made.write_bytes(b"of the year 2286")
    os.utime(made, ns=(0, 10**19))
    made.rename(rig.drop / "far")
    async with rig.running():
        await rig.accepted("far")
    (said,) = rig.ledger.accepted
    assert wire.decoder(FileIngested).decode(wire.encode(said)).mtime_ns == 2**63 - 1


async def test_a_file_that_claims_more_bytes_than_any_may_is_refused_before_it_is_read(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sparse one could."""
    monkeypatch.setattr(examination, "MAX_SIZE_BYTES", 1000)
    rig.dropped("large", bytes(1001))
    rig.dropped("small", bytes(1000))
    async with rig.running():
        await rig.accepted("small")
        await rig.until(lambda: "at most 1000" in rig.rejected().get("large", ""))


@pytest.mark.fault(37)
async def test_an_empty_file_is_a_file(rig: Rig) -> None:
    rig.dropped("empty", b"")
    async with rig.running():
        await rig.accepted("empty")


async def test_ignored_names_are_not_looked_at(rig: Rig) -> None:
    for name in (".hidden", "x.part", "y.tmp", ".git/config", "deep/z.part"):
        rig.dropped(name)
    rig.dropped("good")
    async with rig.running():
        await rig.accepted("good")
        time.sleep(0.01)
    assert (rig.drop / ".git/config").exists()
    assert (rig.drop / "deep/z.part").exists()


async def test_emptied_directories_go_but_the_drop_directory_stays(rig: Rig) -> None:
    rig.dropped("a/b/c/1")
    rig.dropped("a/b/2")
    rig.dropped("keep/3.part")
    rig.dropped("keep/4")
    async with rig.running():
        await rig.accepted("a/b/c/1", "a/b/2", "keep/4")
        await rig.until(lambda: not (rig.drop / "a").exists() and rig.claimed() == [])
    assert sorted(path.name for path in rig.drop.iterdir()) == [".claimed", ".rejected", "keep"]
    assert rig.claimed() == []


async def test_the_same_bytes_again_are_accepted_and_change_nothing(rig: Rig) -> None:
    async with rig.running() as intake:
        rig.dropped("x")
        await rig.accepted("x")
        rig.dropped("x")
        await rig.until(lambda: intake.snapshot().accepted == 2)
        await rig.until(lambda: not (rig.drop / "x").exists() and rig.claimed() == [])
    assert rig.ledger.names == ["x"]
    assert rig.incidents.ever == []


async def test_bytes_whose_instance_is_gone_from_the_store_are_stored_again(rig: Rig) -> None:
    async with rig.running():
        rig.dropped("x")
        await rig.accepted("x")
        (rig.root / "x").unlink()
        rig.dropped("x")
        await rig.until((rig.root / "x").exists)
        await rig.until(lambda: len(rig.ledger.accepted) == 2)


async def test_bytes_known_from_elsewhere_are_stored_here(rig: Rig) -> None:
    rig.ledger.files[Name.parse("x")] = {Digest.blake3(b"data"): {"another store"}}
    rig.dropped("x")
    async with rig.running():
        await rig.accepted("x")


async def test_five_thousand_small_files_in_nested_directories_are_all_accepted(rig: Rig) -> None:
    names = [f"d{i % 10}/e{i % 100}/f{i}.fits" for i in range(5000)]
    for number, name in enumerate(names):
        rig.dropped(name, number.to_bytes(8, "big") * 512)
    async with rig.running() as intake:
        await rig.until(lambda: len(rig.ledger.accepted) == 5000, 60.0)
        await rig.until(lambda: rig.claimed() == [])
        assert intake.snapshot().accepted == 5000
    assert sorted(rig.ledger.names) == sorted(names)
    assert rig.in_store() == sorted(names)
    assert rig.claimed() == []


async def test_what_waits_beyond_memory_is_taken_by_its_age(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "BATCH_FILES", 7)
    names = [f"f{i}" for i in range(60)]
    for name in names:
        rig.dropped(name)
    time.sleep(1.3)  # the daemon's wall clock counts whole seconds
    async with rig.running(watch="poll") as intake:
        intake._candidates._most = 5  # pyright: ignore[reportPrivateUsage]
        await rig.accepted(*names)
