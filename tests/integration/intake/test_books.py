"""A book is one file: complete or not there, exactly what was dropped."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from tests.support.intake import Rig

from librarian_protocol.entries import Unit
from librarian_protocol.manifest import MemberDirectory, MemberFile


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def fill(book: Path) -> None:
    """Members in an order that names, paths and sorting disagree about, an empty directory among them."""
    for rel, data in {
        "a/x": b"1",
        "a.b": b"",
        "a-": b"3",
        "a0": b"4" * 3_000_000,
        "sub/deep/er": b"5",
        ".hidden": b"6",
        "x~": b"7",
    }.items():
        path = book / rel
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (book / "empty").mkdir()
    (book / "empty-too/below").mkdir(parents=True)


async def _members(rig: Rig) -> list[MemberFile | MemberDirectory]:
    return [member async for page in rig.store.manifest(rig.ledger.accepted[0].digest) for member in page]


@pytest.mark.parametrize("owner", [os.geteuid(), 12345])
async def test_a_book_is_stored_whole_with_its_empty_directories(rig: Rig, owner: int) -> None:
    fill(rig.drop / "night/b1")
    if owner != os.geteuid():
        if os.geteuid() != 0:
            pytest.skip("changing owners is not permitted here")
        os.chown(rig.drop / "night/b1/a0", owner, owner)
    async with rig.running(unit="book", depth=2):
        await rig.accepted("night/b1")
        await rig.until(lambda: rig.claimed() == [])
    entry = rig.ledger.accepted[0]
    assert (entry.unit, entry.members, entry.size_bytes) == (Unit.BOOK, 7, 3_000_005)
    members = await _members(rig)
    assert [member.path for member in members] == [
        ".hidden", "a-", "a.b", "a/x", "a0", "empty", "empty-too/below", "sub/deep/er", "x~",
    ]  # fmt: skip
    assert (rig.root / "night/b1/empty-too/below").is_dir()
    assert (rig.root / "night/b1/a/x").stat().st_mode & 0o777 == 0o444
    assert list((rig.root / ".librarian/staging").iterdir()) == []


async def test_an_empty_book_is_a_book(rig: Rig) -> None:
    (rig.drop / "nothing").mkdir()
    async with rig.running(unit="book"):
        await rig.accepted("nothing")
    assert (rig.root / "nothing").is_dir()


async def test_a_book_renamed_into_place_is_taken_at_once(rig: Rig, tmp_path: Path) -> None:
    fill(tmp_path / "book")
    async with rig.running(unit="book", quiet_s=30.0):
        (tmp_path / "book").rename(rig.drop / "book")
        await rig.accepted("book", timeout_s=3.0)


async def test_a_book_waits_until_nothing_in_it_changes(rig: Rig) -> None:
    async with rig.running(unit="book", quiet_s=0.4) as intake:
        for number in range(5):
            rig.dropped(f"book/sub/{number}", bytes(number))
            await rig.until(lambda: intake.snapshot().waiting == 1)
            assert intake.snapshot().waiting_items[0].reason == "not-quiet-yet"
            await asyncio.sleep(0.15)
        await rig.accepted("book")
    assert rig.ledger.accepted[0].members == 5


async def test_a_marked_book_waits_for_its_marker_which_is_no_part_of_it(rig: Rig) -> None:
    fill(rig.drop / "book")
    async with rig.running(unit="book", complete="marker", marker="DONE", quiet_s=30.0) as intake:
        await rig.until(lambda: intake.snapshot().waiting == 1)
        assert [(item.name, item.reason) for item in intake.snapshot().waiting_items] == [("book", "no-marker")]
        (rig.drop / "book/DONE").touch()
        await rig.accepted("book", timeout_s=3.0)
    assert "DONE" not in {member.path for member in await _members(rig)}
    assert not (rig.root / "book/DONE").exists()


async def test_the_same_book_again_is_accepted_and_changes_nothing(rig: Rig) -> None:
    async with rig.running(unit="book") as intake:
        fill(rig.drop / "book")
        await rig.accepted("book")
        fill(rig.drop / "book")
        await rig.until(lambda: intake.snapshot().accepted == 2)
        await rig.until(lambda: rig.claimed() == [])
    assert rig.ledger.names == ["book"]
    assert rig.incidents.ever == []
    assert list((rig.root / ".librarian/staging").iterdir()) == []


async def test_a_book_with_one_byte_changed_is_refused_under_the_same_name(rig: Rig) -> None:
    async with rig.running(unit="book") as intake:
        fill(rig.drop / "book")
        await rig.accepted("book")
        fill(rig.drop / "book")
        (rig.drop / "book/a/x").write_bytes(b"2")
        await rig.until(lambda: intake.snapshot().refused == 1)
    assert "E107" in rig.rejected()["book/a/x"]


async def test_a_book_of_many_members_is_stored(rig: Rig) -> None:
    for number in range(5_000):
        rig.dropped(f"big/{number % 50}/{number}", number.to_bytes(4, "big"))
    async with rig.running(unit="book"):
        await rig.accepted("big", timeout_s=30.0)
    assert rig.ledger.accepted[0].members == 5_000
