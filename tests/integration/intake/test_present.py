"""Dropped bytes go only where the store holds the same, every one of them read again."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.intake import Rig

from librarian_protocol.names import Name


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def _overwrite(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def _kept(rig: Rig, rel: str) -> bytes:
    (kept,) = (rig.drop / ".rejected").glob(f"*/{rel}")
    return kept.read_bytes()


async def test_the_same_file_again_is_kept_where_the_stored_one_was_changed_in_place(rig: Rig) -> None:
    async with rig.running() as intake:
        rig.dropped("x", b"good")
        await rig.accepted("x")
        _overwrite(rig.root / "x", b"evil")
        rig.dropped("x", b"good")
        await rig.until(lambda: intake.snapshot().refused == 1)
    assert _kept(rig, "x") == b"good"
    reason = rig.rejected()["x"]
    assert "is not what was ingested" in reason
    assert "kept here" in reason
    assert "do not remove them" in reason
    assert "lbctl file heal x" in reason


async def test_the_same_book_again_is_kept_where_one_stored_member_was_changed_in_place(rig: Rig) -> None:
    async with rig.running(unit="book") as intake:
        rig.dropped("book/a/x", b"good")
        await rig.accepted("book")
        _overwrite(rig.root / "book/a/x", b"evil")
        rig.dropped("book/a/x", b"good")
        await rig.until(lambda: intake.snapshot().refused == 1)
    assert _kept(rig, "book/a/x") == b"good"
    assert "is not what was ingested" in rig.rejected()["book/a/x"]
    assert list((rig.root / ".librarian/staging").iterdir()) == []


async def test_the_same_file_again_is_kept_where_the_stored_one_cannot_be_read(rig: Rig) -> None:
    async with rig.running() as intake:
        rig.dropped("x", b"good")
        await rig.accepted("x")
        (rig.root / "x").unlink()
        (rig.root / "x").mkdir()
        rig.dropped("x", b"good")
        await rig.until(lambda: intake.snapshot().refused == 1)
    assert _kept(rig, "x") == b"good"


@pytest.mark.parametrize("suspected", [False, True])
@pytest.mark.parametrize("unit", ["file", "book"])
async def test_kept_bytes_are_ingested_again_once_the_wrong_ones_are_moved_away(
    rig: Rig, tmp_path: Path, unit: str, *, suspected: bool
) -> None:
    rel = "x" if unit == "file" else "x/a"
    async with rig.running(unit=unit) as intake:
        rig.dropped(rel, b"good")
        await rig.until(lambda: intake.snapshot().accepted == 1)
        _overwrite(rig.root / rel, b"evil")
        if suspected:
            for stores in rig.ledger.files[Name.parse("x")].values():
                stores.clear()
        rig.dropped(rel, b"good")
        await rig.until(lambda: intake.snapshot().refused == 1)
        assert "is not what was ingested" in rig.rejected()[rel]
        assert "does not know" not in rig.rejected()[rel]
        (rig.root / "x").rename(tmp_path / "evidence")
        (kept,) = (rig.drop / ".rejected").glob("*/x")
        kept.rename(rig.drop / "x")
        await rig.until(lambda: intake.snapshot().accepted == 2)
        await rig.until(lambda: not rig.claimed())
    assert rig.ledger.names == ["x", "x"]
    assert (rig.root / rel).read_bytes() == b"good"
    assert all(rig.ledger.files[Name.parse("x")].values())


async def test_a_suspected_instance_whose_bytes_are_right_again_is_taken_as_ingested(rig: Rig) -> None:
    async with rig.running() as intake:
        rig.dropped("x", b"good")
        await rig.accepted("x")
        for stores in rig.ledger.files[Name.parse("x")].values():
            stores.clear()
        rig.dropped("x", b"good")
        await rig.until(lambda: intake.snapshot().accepted == 2)
    assert rig.rejected() == {}
