"""What cannot be ingested is refused with its own reason, and every byte of it is kept."""

from __future__ import annotations

import os
import socket
import stat
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.intake import STORE_ID, Rig

from librarian_protocol.digests import Digest
from librarian_protocol.names import Name

BAD_NAMES = [
    (b"caf\xe9.txt", "not valid UTF-8"),
    (b"line\nbreak", "control character"),
    (b"esc\x1b[31m", "control character"),
    (unicodedata.normalize("NFD", "café").encode(), "NFC"),
    (b"deep/" * 203 + b"x" * 20, "longer than 1024 bytes"),
    (b"/".join([b"y" * 250] * 5) + b"/x", "too long"),
]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def _deep(rig: Rig, rel: bytes, data: bytes) -> None:
    """Write below directories whose whole path may be longer than one system call takes."""
    fd = os.open(rig.drop, os.O_RDONLY)
    *above, name = rel.split(b"/")
    for part in above:
        with suppress(FileExistsError):
            os.mkdir(part, dir_fd=fd)
        deeper = os.open(part, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    file = os.open(name, os.O_WRONLY | os.O_CREAT, dir_fd=fd)
    os.write(file, data)
    os.close(file)
    os.close(fd)


@pytest.mark.parametrize(("rel", "why"), BAD_NAMES)
@pytest.mark.fault(30)
async def test_a_name_that_breaks_the_rules_is_refused(rig: Rig, rel: bytes, why: str) -> None:
    _deep(rig, rel, b"kept")
    async with rig.running() as intake:
        await rig.until(lambda: intake.snapshot().refused == 1)
    rejected = rig.rejected()
    assert len(rejected) == 1
    path, reason = next(iter(rejected.items()))
    assert why in reason
    assert "code:  E101" in reason
    assert os.fsencode(path).startswith(rel[:1000])
    assert list(rig.incidents.now) == [("intake-refused", f"{rig.drop}: name-invalid")]
    assert rig.in_store() == []


async def test_what_is_taken_out_of_rejected_is_no_longer_an_incident(rig: Rig) -> None:
    _deep(rig, b"bad\x01name", b"kept")
    async with rig.running(walk_every_s=0.2) as intake:
        await rig.until(lambda: intake.snapshot().refused == 1)
        await rig.until(lambda: bool(rig.incidents.now))
        for thing in (rig.drop / ".rejected").glob("*/*"):
            if thing.name != "REASON.txt":
                thing.unlink()
        await rig.until(lambda: not rig.incidents.now)
    assert rig.incidents.ever == [("intake-refused", f"{rig.drop}: name-invalid")]


async def test_refusals_for_one_cause_are_one_incident_with_their_number_also_after_a_start(rig: Rig) -> None:
    about = ("intake-refused", f"{rig.drop}: name-invalid")
    for number in range(7):
        rig.dropped(f"bad\x01{number}")
    (rig.drop / "link").symlink_to("/etc/passwd")
    async with rig.running(walk_every_s=0.2) as intake:
        await rig.until(lambda: intake.snapshot().refused == 8)
        await rig.until(lambda: rig.incidents.numbers.get(about) == 7)
    assert sorted(rig.incidents.ever) == [about, ("intake-refused", f"{rig.drop}: not-possible")]
    assert "7 were refused (name-invalid), the last bad\\x01" in rig.incidents.now[about]

    next((rig.drop / ".rejected").glob("*/bad*")).unlink()
    rig.incidents.now["intake-refused", f"{rig.drop}/.rejected/20260101T000000Z-0"] = "as it was told before"
    async with rig.running(walk_every_s=0.2) as intake:
        await rig.until(lambda: rig.incidents.numbers[about] == 6)
        assert intake.snapshot().standing_refused == 7
        assert set(rig.incidents.now) == set(rig.incidents.ever)


async def test_the_stores_own_directory_is_no_name(rig: Rig) -> None:
    rig.dropped(".librarian/store", b"evil")
    async with rig.running(ignore=[]) as intake:
        await rig.until(lambda: intake.snapshot().refused == 1)
    assert "keeps for itself" in rig.rejected()[".librarian/store"]


async def test_other_bytes_under_a_taken_name_are_refused_and_both_are_kept(rig: Rig) -> None:
    async with rig.running() as intake:
        rig.dropped("x", b"first")
        await rig.accepted("x")
        rig.dropped("x", b"second")
        await rig.until(lambda: intake.snapshot().refused == 1)
    assert (rig.root / "x").read_bytes() == b"first"
    reason = rig.rejected()["x"]
    assert "E107 name_taken" in reason
    assert str(Digest.blake3(b"second")) in reason
    (kept,) = (rig.drop / ".rejected").glob("*/x")
    assert kept.read_bytes() == b"second"


async def test_a_name_that_something_unknown_stands_at_is_refused(rig: Rig) -> None:
    (rig.root / "x").write_bytes(b"whose?")
    rig.dropped("x", b"mine")
    async with rig.running() as intake:
        await rig.until(lambda: intake.snapshot().refused == 1)
    assert (rig.root / "x").read_bytes() == b"whose?"
    assert "E406 name_occupied" in rig.rejected()["x"]
    assert rig.ledger.landings == {}


async def test_a_name_below_another_file_is_refused(rig: Rig) -> None:
    async with rig.running() as intake:
        rig.dropped("x")
        await rig.accepted("x")
        rig.dropped("x/y")
        await rig.until(lambda: intake.snapshot().refused == 1)
    assert "E406 name_occupied" in rig.rejected()["x/y"]


async def test_a_withdrawn_file_is_refused(rig: Rig) -> None:
    rig.ledger.withdrawn.add((Name.parse("x"), Digest.blake3(b"data")))
    rig.dropped("x")
    async with rig.running() as intake:
        await rig.until(lambda: intake.snapshot().refused == 1)
    assert "withdrew" in rig.rejected()["x"]


async def test_a_case_twin_of_a_known_name_is_refused(rig: Rig) -> None:
    rig.ledger.files[Name.parse("Night/X.fits")] = {Digest.blake3(b"1"): {STORE_ID}}
    rig.dropped("night/x.FITS")
    async with rig.running() as intake:
        await rig.until(lambda: intake.snapshot().refused == 1)
    assert "E405 case_twin" in rig.rejected()["night/x.FITS"]
    assert "Night/X.fits" in rig.rejected()["night/x.FITS"]


async def test_of_two_case_twins_dropped_together_one_is_refused(rig: Rig) -> None:
    rig.dropped("twin", b"1")
    rig.dropped("TWIN", b"2")
    async with rig.running() as intake:
        await rig.until(lambda: intake.snapshot().refused == 1 and intake.snapshot().accepted == 1)
    assert {*rig.ledger.names, *rig.rejected()} == {"twin", "TWIN"}


async def test_case_twins_are_accepted_where_they_are_allowed(rig: Rig) -> None:
    rig.dropped("twin", b"1")
    rig.dropped("TWIN", b"2")
    async with rig.running(allow_case_twins=True):
        await rig.accepted("twin", "TWIN")


def _symlink(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


def _device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("making a device is not permitted here")


ODD: list[tuple[Callable[[Path], None], str]] = [
    (_symlink, "a symbolic link"),
    (os.mkfifo, "a FIFO"),
    (_socket, "a socket"),
    (_device, "a character device"),
]


@pytest.mark.parametrize(("make", "why"), ODD)
@pytest.mark.fault(31)
async def test_what_is_no_file_is_refused_and_never_opened(rig: Rig, make: Callable[[Path], None], why: str) -> None:
    make(rig.drop / "odd")
    before = (rig.drop / "odd").lstat()
    async with rig.running() as intake:
        await rig.until(lambda: intake.snapshot().refused == 1)
    assert why in rig.rejected()["odd"]
    (kept,) = (rig.drop / ".rejected").glob("*/odd")
    assert (kept.lstat().st_ino, kept.lstat().st_mode) == (before.st_ino, before.st_mode)


@pytest.mark.parametrize(("make", "why"), ODD)
@pytest.mark.fault(31)
async def test_a_book_with_such_a_member_is_refused_whole(rig: Rig, make: Callable[[Path], None], why: str) -> None:
    rig.dropped("book/good", b"good")
    (rig.drop / "book/sub").mkdir()
    make(rig.drop / "book/sub/odd")
    async with rig.running(unit="book") as intake:
        await rig.until(lambda: intake.snapshot().refused == 1)
    rejected = rig.rejected()
    assert set(rejected) == {"book/good", "book/sub/odd"}
    reason = rejected["book/good"]
    assert "sub/odd" in reason
    assert why in reason
    assert "E109 book_refused" in reason
    assert rig.ledger.accepted == []
    assert list((rig.root / ".librarian/staging").iterdir()) == []


async def test_a_book_with_a_member_whose_name_breaks_the_rules_is_refused(rig: Rig) -> None:
    rig.dropped(b"book/bad\xff")
    async with rig.running(unit="book") as intake:
        await rig.until(lambda: intake.snapshot().refused == 1)
    assert "bad\\xff" in next(iter(rig.rejected().values()))


async def test_a_single_file_among_books_is_refused(rig: Rig) -> None:
    rig.dropped("stray")
    async with rig.running(unit="book") as intake:
        await rig.until(lambda: intake.snapshot().refused == 1)
    assert "only books" in rig.rejected()["stray"]


async def test_a_refused_file_named_like_the_reason_keeps_its_name_and_bytes(rig: Rig) -> None:
    rig.ledger.withdrawn.add((Name.parse("REASON.txt"), Digest.blake3(b"data")))
    rig.dropped("REASON.txt")
    async with rig.running() as intake:
        await rig.until(lambda: intake.snapshot().refused == 1)
    (kept,) = (rig.drop / ".rejected").glob("*/REASON.txt")
    assert kept.read_bytes() == b"data"
    assert "withdrew" in (kept.parent / "_REASON.txt").read_text()


async def test_the_same_name_refused_twice_keeps_both(rig: Rig) -> None:
    rig.ledger.files[Name.parse("x")] = {Digest.blake3(b"other"): {STORE_ID}}
    async with rig.running() as intake:
        rig.dropped("x", b"1")
        await rig.until(lambda: intake.snapshot().refused == 1)
        rig.dropped("x", b"2")
        await rig.until(lambda: intake.snapshot().refused == 2)
    assert {path.read_bytes() for path in (rig.drop / ".rejected").glob("*/x")} == {b"1", b"2"}
