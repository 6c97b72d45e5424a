"""Taking in into a store that is no directory of this host: all of it by copying, nothing by renaming."""

from __future__ import annotations

from pathlib import Path

from tests.support.intake import STORE_ID, Rig
from tests.support.memory_store import MemoryStore
from tests.support.memory_volume import Volume

from librarian_protocol.entries import Unit


def elsewhere(volume: Volume) -> MemoryStore:
    return MemoryStore(volume, id_=STORE_ID, label="archive", keeps=False, lists=False)


async def test_what_is_dropped_is_copied_into_a_store_that_is_elsewhere(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    volume = Volume()
    (rig.drop / "sub").mkdir()
    (rig.drop / "sub/small").write_bytes(b"few bytes")
    (rig.drop / "large").write_bytes(b"many" * 500_000)
    async with rig.running(store=elsewhere(volume)):
        await rig.until(lambda: len(rig.ledger.accepted) == 2)
        await rig.until(lambda: not any(path.is_file() for path in rig.drop.rglob("*")))
    assert {path: bytes(inode.data) for path, inode in volume.named.items()} == {
        "sub/small": b"few bytes",
        "large": b"many" * 500_000,
    }
    assert all(inode.is_durable for inode in volume.named.values())
    assert not volume.staged


async def test_a_book_is_copied_into_a_store_that_is_elsewhere(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    volume = Volume()
    making = tmp_path / "making"
    (making / "a/empty").mkdir(parents=True)
    (making / "a/x").write_bytes(b"x")
    (making / "run.sh").write_bytes(b"#!/bin/sh")
    store = elsewhere(volume)
    async with rig.running(store=store, unit="book"):
        making.rename(rig.drop / "night")
        await rig.until(lambda: rig.ledger.names == ["night"])
    (entry,) = rig.ledger.accepted
    assert set(volume.named) == {"night/a/x", "night/run.sh"}
    assert (await store.check(entry.name, entry.digest, Unit.BOOK, entry.size_bytes)).error is None
    assert not volume.staged
    assert set(volume.manifests) == {entry.digest.hex}


async def test_what_is_copied_is_promised_room_first_and_waits_where_there_is_none(tmp_path: Path) -> None:
    """While it waits nothing is staged; afterwards nothing stays promised."""
    rig = Rig(tmp_path)
    volume = Volume()
    rig.ledger.room_bytes = 99
    (rig.drop / "file").write_bytes(bytes(100))
    async with rig.running(store=elsewhere(volume)) as intake:
        await rig.until(lambda: intake.snapshot().detail.startswith("store-full: "))
        assert not volume.staged
        assert rig.ledger.promised == {}
        rig.ledger.room_bytes = 100
        await rig.until(lambda: len(rig.ledger.accepted) == 1)
        await rig.until(lambda: rig.ledger.promised == {})
    assert rig.incidents.now == {}
