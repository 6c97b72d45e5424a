"""A drop directory that may feed several stores: each batch goes into the one that is chosen."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.intake import STORE_ID, Rig
from tests.support.memory_store import MemoryStore
from tests.support.memory_volume import Volume

from librarian_protocol import backoff
from librarian_protocol.errors import StoreFull

OTHER = "f" * 32


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "LONGEST_S", 0.2)


def other(volume: Volume) -> MemoryStore:
    return MemoryStore(volume, id_=OTHER, label="other", keeps=False, lists=False)


def taken(rig: Rig, volume: Volume) -> dict[str, dict[str, bytes]]:
    """What stands in each store."""
    return {
        "first": {name: (rig.root / name).read_bytes() for name in rig.in_store()},
        "other": {path: bytes(inode.data) for path, inode in volume.named.items()},
    }


async def test_each_batch_goes_into_the_store_that_is_chosen_then(tmp_path: Path) -> None:
    rig, volume = Rig(tmp_path), Volume()
    async with rig.running(others=[other(volume)], complete="rename") as intake:
        rig.ledger.passed = {STORE_ID}
        rig.dropped("a", b"into the other")
        await rig.until(lambda: intake.snapshot().accepted == 1)
        rig.ledger.passed = set()
        rig.dropped("b", b"into the first")
        await rig.until(lambda: intake.snapshot().accepted == 2)
    assert taken(rig, volume) == {"first": {"b": b"into the first"}, "other": {"a": b"into the other"}}
    assert [entry.store for entry in rig.ledger.accepted] == [OTHER, STORE_ID]


async def test_what_stands_in_one_of_its_stores_is_not_taken_into_another(tmp_path: Path) -> None:
    rig, volume = Rig(tmp_path), Volume()
    async with rig.running(others=[other(volume)], complete="rename") as intake:
        rig.dropped("a", b"once")
        await rig.until(lambda: intake.snapshot().accepted == 1)
        rig.ledger.passed = {STORE_ID}
        rig.dropped("a", b"once")
        await rig.until(lambda: intake.snapshot().accepted == 2)
        await rig.until(lambda: not any(path.is_file() for path in rig.drop.rglob("*")))
    assert taken(rig, volume) == {"first": {"a": b"once"}, "other": {}}
    assert len(rig.ledger.accepted) == 1


async def test_where_the_chosen_store_fails_another_is_chosen_at_the_next_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was claimed goes there; both are examined before they are chosen again."""
    rig, volume = Rig(tmp_path), Volume()
    failing = other(volume)

    async def full(landings: object) -> None:
        rig.ledger.passed = {OTHER}
        raise StoreFull("no space left")

    monkeypatch.setattr(failing, "seal", full)
    rig.ledger.passed = {STORE_ID}
    async with rig.running(others=[failing], complete="rename") as intake:
        rig.dropped("a", b"goes on")
        await rig.until(lambda: intake.snapshot().accepted == 1)
        await rig.until(lambda: rig.incidents.now == {})
    assert taken(rig, volume) == {"first": {"a": b"goes on"}, "other": {}}
    assert set(rig.ledger.doubted) == {STORE_ID, OTHER}


async def test_a_restart_takes_what_was_claimed_for_another_store_into_the_one_that_is_chosen(tmp_path: Path) -> None:
    rig, volume = Rig(tmp_path), Volume()
    rig.ledger.room_bytes = 0
    rig.ledger.passed = {STORE_ID}
    async with rig.running(others=[other(volume)], complete="rename") as intake:
        rig.dropped("a", b"waits")
        await rig.until(lambda: intake.snapshot().state == "paused")
    assert len([path for path in rig.claimed() if path.is_file()]) == 1
    rig.ledger.passed = set()
    async with rig.running(others=[other(volume)], complete="rename") as intake:
        await rig.until(lambda: intake.snapshot().accepted == 1)
    assert taken(rig, volume) == {"first": {"a": b"waits"}, "other": {}}
    assert not volume.staged
