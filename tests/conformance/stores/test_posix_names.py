"""What a store on a filesystem does besides: modes, links, directories, and what a crash leaves of its renames."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from tests.support.stores import MAKERS, read, staged, staged_book, stored

from librarian_daemon.ports.store import NotPlaced, Placed
from librarian_daemon.stores.posix.store import PosixStore
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Unit
from librarian_protocol.errors import ChecksumMismatch, SizeMismatch, SourceMissing, StoreError, StoreNotMounted
from librarian_protocol.names import Name

BOOK = {"a/x": b"1", "a.b": b"", "a-": b"33", "sub/deep/er": b"4" * 5000}
EMPTY = ["empty", "z/y"]


@pytest.fixture(params=sorted(MAKERS))
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[PosixStore]:
    made = MAKERS[request.param](tmp_path / "store")
    await made.open()
    yield made
    made.close()


def path_of(store: PosixStore, name: str) -> Path:
    return Path(store.root) / name


async def test_a_file_gets_its_mode_and_a_book_its_empty_directories(store: PosixStore) -> None:
    await stored(store, await staged(store, "k1", "a/b/c", b"data"))
    assert path_of(store, "a/b/c").stat().st_mode & 0o777 == 0o444
    await stored(store, await staged_book(store, "k2", "book", BOOK, EMPTY))
    assert path_of(store, "book/z/y").is_dir()
    assert path_of(store, "book/empty").is_dir()


async def test_an_empty_directory_in_the_way_is_not_overwritten(store: PosixStore) -> None:
    path_of(store, "x/y").mkdir(parents=True)
    landing = await staged(store, "k1", "x/y", b"data")
    await store.seal([landing])
    (outcome,) = await store.place([landing])
    assert isinstance(outcome, NotPlaced)
    with pytest.raises(SourceMissing):
        await read(store, "x/y", landing.digest, "file")


async def test_a_book_is_recovered_wherever_a_crash_left_it(store: PosixStore) -> None:
    landing = await staged_book(store, "k1", "book", BOOK, EMPTY)
    await store.seal([landing])
    root = Path(store.root)
    (Path(store.staging_root) / "k1-manifest").rename(root / f".librarian/manifests/{landing.digest.hex}")
    assert await store.recover(landing) == Placed(landing)
    check = await store.check(landing.name, landing.digest, Unit.BOOK, landing.size_bytes)
    assert check.error is None


@pytest.mark.parametrize("spoil", ["empty-gone", "link"])
async def test_a_book_without_a_directory_or_with_a_link_is_found_out(store: PosixStore, spoil: str) -> None:
    landing = await staged_book(store, "k1", "book", BOOK, EMPTY)
    await stored(store, landing)
    book = path_of(store, "book")
    for path in book.rglob("*"):
        path.chmod(0o755)
    if spoil == "empty-gone":
        (book / "empty").rmdir()
    else:
        (book / "a-").unlink()
        (book / "a-").symlink_to("a.b")
    check = await store.check(landing.name, landing.digest, Unit.BOOK, landing.size_bytes)
    assert isinstance(check.error, (ChecksumMismatch, SourceMissing, SizeMismatch))
    assert check.digest is None


async def test_a_link_in_the_namespace_is_never_followed(store: PosixStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    path_of(store, "link").symlink_to(outside)
    path_of(store, "file").symlink_to(outside / "secret")
    landing = await staged(store, "k1", "link/new", b"data")
    await store.seal([landing])
    (outcome,) = await store.place([landing])
    assert isinstance(outcome, NotPlaced)
    assert sorted(os.listdir(outside)) == ["secret"]
    for name in ("link/secret", "file"):
        with pytest.raises((StoreError, SourceMissing)):
            await read(store, name, Digest.blake3(b"secret"), "file")
        check = await store.check(Name.parse(name), Digest.blake3(b"secret"), Unit.FILE, 6)
        assert check.error is not None
        assert check.digest is None


async def test_nothing_is_written_where_the_store_is_not_mounted(store: PosixStore, tmp_path: Path) -> None:
    later = await staged(store, "k2", "y", b"later")
    root = Path(store.root)
    root.rename(tmp_path / "away")
    root.mkdir()
    with pytest.raises(StoreNotMounted):
        await store.open()
    (outcome,) = await store.seal([later])
    assert isinstance(outcome, NotPlaced)
    assert list(root.iterdir()) == []
    root.rmdir()
    (tmp_path / "away").rename(root)
    await stored(store, later)
