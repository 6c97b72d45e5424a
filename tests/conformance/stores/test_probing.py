"""A look at a store finds what keeps it from being written, before anybody writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.mounts import remount, tmpfs

from librarian_daemon.incidents.store_health import FULL, NOT_MOUNTED, READ_ONLY, health_of
from librarian_daemon.stores.posix.layout import Marker
from librarian_daemon.stores.posix.store import PosixStore
from librarian_protocol.entries import StoreRole
from librarian_protocol.names import SiteName


async def opened(root: Path) -> PosixStore:
    """A new store at that place."""
    marker = Marker(id="a" * 32, label="main", site=SiteName.parse("archive"))
    PosixStore.create(str(root), marker)
    store = PosixStore(str(root), marker, StoreRole.ARCHIVE)
    await store.open()
    return store


async def test_a_store_that_can_be_written_is_well_and_nothing_is_left(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    assert health_of(store).code == ""
    assert list((tmp_path / ".librarian/staging").iterdir()) == []


@pytest.mark.fault(7)
async def test_a_full_filesystem_is_seen(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "store", "size=64k") as root:
        store = await opened(root)
        filler = root / ".librarian/trash/filler"
        with pytest.raises(OSError, match="No space left"):
            filler.write_bytes(bytes(100_000))
        found = health_of(store)
        assert (found.code, found.serves) == (FULL, True)
        assert found.space is not None
        assert found.space.free_bytes == 0
        filler.unlink()
        assert health_of(store).code == ""


@pytest.mark.fault(7)
async def test_no_inodes_are_seen(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "store", "size=1m,nr_inodes=20") as root:
        store = await opened(root)
        with pytest.raises(OSError, match="No space left"):
            take_all_inodes(root / ".librarian/trash")
        assert health_of(store).code == FULL


def take_all_inodes(directory: Path) -> None:
    """Make files until the filesystem refuses one."""
    for number in range(1000):
        (directory / str(number)).touch()


async def test_a_filesystem_that_became_read_only_is_seen(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "store", "size=1m") as root:
        store = await opened(root)
        remount(root, "ro")
        found = health_of(store)
        assert (found.code, found.serves) == (READ_ONLY, True)
        remount(root, "rw")
        assert health_of(store).code == ""


async def test_a_store_that_was_not_there_at_the_start_is_not_used_before_it_is_admitted(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    store.withhold("it is being taken up")
    assert health_of(store).code == NOT_MOUNTED
    twin = store.twin()
    await twin.open()
    assert health_of(twin).code == ""
    (tmp_path / ".librarian/store").rename(tmp_path / "away")
    assert "its marker .librarian/store is missing" in health_of(store).message
    assert f"lbctl store mark {tmp_path} --store {store.id}" in health_of(store).hint
    (tmp_path / "away").rename(tmp_path / ".librarian/store")
    await store.admit()
    assert health_of(store).code == ""
