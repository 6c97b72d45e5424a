"""Directories for programs that write files themselves: what they leave is taken over, and nothing else is touched."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec
import pytest
from tests.support.stores import MAKERS, file_item

from librarian_adapters.contract import Item, Part, Scratch
from librarian_daemon.stores.posix.store import PosixStore
from librarian_protocol.errors import SizeMismatch, SourceInvalid, StoreError


@pytest.fixture(params=sorted(MAKERS))
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[PosixStore]:
    made = MAKERS[request.param](tmp_path / "store")
    await made.open()
    yield made
    made.close()


async def scratch_of(store: PosixStore) -> Scratch:
    return await store.staging.scratch("t1-scratch")


def staged(store: PosixStore, item: Item) -> Path:
    return Path(store.staging_root) / item.key


async def test_a_file_is_taken_over_and_is_gone_from_the_scratch(store: PosixStore) -> None:
    scratch = await scratch_of(store)
    item = file_item("t1", b"some bytes")
    place = Path(scratch.path, "a", "b.dat")
    place.parent.mkdir()
    place.write_bytes(b"some bytes")
    assert await scratch.adopt(item, "a/b.dat")
    assert not place.exists()
    assert await store.staging.read_back(item) == (10, item.digest)


async def test_nothing_there_is_told(store: PosixStore) -> None:
    """An outside program brought neither the file nor the tree that it was asked for: ``adopt`` says no."""
    scratch = await scratch_of(store)
    assert not await scratch.adopt(file_item("t1", b"x"), "a/b.dat")
    assert not await scratch.adopt(msgspec.structs.replace(file_item("t1", b"x"), part=Part.TREE), "a")


@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "directory", "larger"])
async def test_what_is_no_plain_file_of_that_size_is_refused(store: PosixStore, tmp_path: Path, kind: str) -> None:
    scratch = await scratch_of(store)
    outside = tmp_path / "outside"
    outside.write_bytes(b"secret")
    place = Path(scratch.path, "x")
    match kind:
        case "link":
            place.symlink_to(outside)
        case "dangling":
            place.symlink_to("/nowhere/at/all")
        case "fifo":
            os.mkfifo(place)
        case "directory":
            place.mkdir()
        case _:
            place.write_bytes(b"x" * 100)
    with pytest.raises(SizeMismatch if kind == "larger" else SourceInvalid):
        await scratch.adopt(file_item("t1", b"1234"), "x")
    assert outside.read_bytes() == b"secret"


@pytest.mark.parametrize("relative", ["../../../secret", "/etc/hostname"])
async def test_a_path_that_leads_out_leads_nowhere(store: PosixStore, relative: str) -> None:
    scratch = await scratch_of(store)
    Path(store.root, "secret").write_bytes(b"secret")
    with pytest.raises(StoreError):
        await scratch.adopt(file_item("t1", b"x" * 1000), relative)
    assert Path(store.root, "secret").read_bytes() == b"secret"


async def test_a_directory_that_is_a_link_is_not_walked(store: PosixStore, tmp_path: Path) -> None:
    scratch = await scratch_of(store)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x").write_bytes(b"secret")
    Path(scratch.path, "a").symlink_to(tmp_path / "outside")
    with pytest.raises(StoreError):
        await scratch.adopt(file_item("t1", b"secret"), "a/x")
    with pytest.raises((StoreError, SourceInvalid)):
        await scratch.adopt(msgspec.structs.replace(file_item("t1", b"secret"), part=Part.TREE), "a")
    assert (tmp_path / "outside" / "x").exists()


async def test_a_file_with_a_second_name_is_copied(store: PosixStore, tmp_path: Path) -> None:
    scratch = await scratch_of(store)
    item = file_item("t1", b"bytes")
    Path(scratch.path, "x").write_bytes(b"bytes")
    os.link(Path(scratch.path, "x"), Path(scratch.path, "second"))
    assert await scratch.adopt(item, "x")
    Path(scratch.path, "second").write_bytes(b"other")
    assert await store.staging.read_back(item) == (5, item.digest)


async def test_a_tree_is_taken_over_file_by_file(store: PosixStore) -> None:
    scratch = await scratch_of(store)
    tree = msgspec.structs.replace(file_item("t1", b"x" * 30), part=Part.TREE)
    for path, data in {"a": b"1", "sub/b": b"22", "sub/deep/c": b"333"}.items():
        Path(scratch.path, "book", path).parent.mkdir(parents=True, exist_ok=True)
        Path(scratch.path, "book", path).write_bytes(data)
    assert await scratch.adopt(tree, "book")
    there = {str(path.relative_to(staged(store, tree))) for path in staged(store, tree).rglob("*") if path.is_file()}
    assert there == {"a", "sub/b", "sub/deep/c"}


@pytest.mark.parametrize("kind", ["link", "fifo", "larger"])
async def test_a_tree_with_something_else_in_it_is_refused(store: PosixStore, tmp_path: Path, kind: str) -> None:
    scratch = await scratch_of(store)
    (tmp_path / "outside").write_bytes(b"secret")
    Path(scratch.path, "book").mkdir()
    Path(scratch.path, "book", "a").write_bytes(b"1")
    match kind:
        case "link":
            Path(scratch.path, "book", "z").symlink_to(tmp_path / "outside")
        case "fifo":
            os.mkfifo(Path(scratch.path, "book", "z"))
        case _:
            Path(scratch.path, "book", "z").write_bytes(b"x" * 100)
    with pytest.raises(SizeMismatch if kind == "larger" else SourceInvalid):
        await scratch.adopt(msgspec.structs.replace(file_item("t1", b"12"), part=Part.TREE), "book")
    assert (tmp_path / "outside").read_bytes() == b"secret"


async def test_what_is_written_in_a_shared_place_is_staged_already(store: PosixStore) -> None:
    scratch = await scratch_of(store)
    item = file_item("t1", b"0123456789")
    await scratch.share(item, "a/b")
    with Path(scratch.path, "a", "b").open("r+b") as file:
        file.write(b"01234")
    await scratch.remove()  # as at a start after a crash
    assert (await store.staging.read_back(item))[0] == 5
    scratch = await scratch_of(store)
    await scratch.share(item, "a/b")
    with Path(scratch.path, "a", "b").open("ab") as file:
        file.write(b"56789")
    assert await scratch.adopt(item, "a/b")
    assert await store.staging.read_back(item) == (10, item.digest)
    assert staged(store, item).stat().st_nlink == 1


async def test_more_than_a_file_has_is_no_beginning_of_it(store: PosixStore) -> None:
    scratch = await scratch_of(store)
    item = file_item("t1", b"0123")
    await store.staging.put([(item, b"012345")])
    await scratch.share(item, "b")
    assert Path(scratch.path, "b").read_bytes() == b""


async def test_the_directory_is_private_and_comes_again_empty(store: PosixStore) -> None:
    scratch = await scratch_of(store)
    assert stat.S_IMODE(os.stat(scratch.path).st_mode) == 0o700
    Path(scratch.path, "x").write_bytes(b"x")
    assert Path((await scratch_of(store)).path, "x").exists(), "the same directory"
    await scratch.remove()
    await scratch.remove()
    assert os.listdir((await scratch_of(store)).path) == []
