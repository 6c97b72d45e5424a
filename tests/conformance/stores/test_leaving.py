"""Bytes that leave their name: bad ones that good ones take the place of, and withdrawn ones. Nothing is deleted."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec
import pytest
from tests.support import stores
from tests.support.stores import expected, staged, staged_book

from librarian_daemon.ports.store import Action, Landing, NotPlaced, Placed
from librarian_daemon.ports.store_capabilities import keeping_of
from librarian_daemon.stores.posix import away
from librarian_daemon.stores.posix.store import PosixStore
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Unit
from librarian_protocol.manifest import MemberFile
from librarian_protocol.names import MemberPath, Name


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[PosixStore]:
    made = stores.posix(tmp_path / "store")
    await made.open()
    yield made
    made.close()


def at(store: PosixStore, path: str) -> Path:
    return Path(store.root) / path


def bad(store: PosixStore) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in at(store, ".librarian/bad").iterdir() if path.is_file()}


async def healing(store: PosixStore, key: str = "k", name: str = "raw/a") -> Landing:
    return msgspec.structs.replace(await staged(store, key, name, b"good"), action=Action.HEAL)


async def test_good_bytes_take_the_place_of_bad_ones_which_are_kept(store: PosixStore) -> None:
    for n, wrong in enumerate([b"evil", b"worse"]):
        landing = await healing(store, f"k{n}")
        at(store, "raw").mkdir(exist_ok=True)
        at(store, "raw/a").unlink(missing_ok=True)
        at(store, "raw/a").write_bytes(wrong)
        (sealed,) = await store.seal([landing])
        assert isinstance(sealed, Landing)
        assert await store.place([sealed]) == [Placed(sealed)]
        assert at(store, "raw/a").read_bytes() == b"good"
    good = Digest.blake3(b"good").hex
    assert bad(store) == {good: b"evil", f"{good}.2": b"worse"}


async def test_what_is_right_already_is_not_moved_and_what_is_lost_only_placed(store: PosixStore) -> None:
    landing = await healing(store)
    assert [await store.place(await store.seal([landing]))] == [[Placed(landing)]]  # type: ignore[arg-type]  # sealed
    again = await healing(store, "again")
    assert await store.place([again]) == [Placed(again)]
    assert bad(store) == {}


async def test_without_the_word_of_the_catalog_nothing_leaves_its_name(store: PosixStore) -> None:
    landing = msgspec.structs.replace(await healing(store), action=Action.PLACE)
    at(store, "raw").mkdir()
    at(store, "raw/a").write_bytes(b"evil")
    (outcome,) = await store.place([landing])
    assert isinstance(outcome, NotPlaced)
    assert at(store, "raw/a").read_bytes() == b"evil"


@pytest.mark.parametrize("moved", [False, True])
async def test_a_healing_that_was_killed_is_finished(store: PosixStore, moved: bool) -> None:
    """Before the bad bytes left the name, and after."""
    landing = await healing(store)
    at(store, "raw").mkdir()
    at(store, "raw/a").write_bytes(b"evil")
    if moved:
        at(store, "raw/a").rename(at(store, f".librarian/bad/{landing.digest.hex}"))
    assert await store.recover(landing) == Placed(landing)
    assert at(store, "raw/a").read_bytes() == b"good"
    assert bad(store) == {landing.digest.hex: b"evil"}
    assert await store.recover(landing) == Placed(landing)


async def test_a_book_is_healed_with_its_manifest(store: PosixStore) -> None:
    landing = msgspec.structs.replace(await staged_book(store, "b", "book", {"x": b"x"}, []), action=Action.HEAL)
    at(store, "book").mkdir()
    at(store, "book/x").write_bytes(b"y")
    manifest = at(store, f".librarian/manifests/{landing.digest.hex}")
    manifest.write_bytes(b"rubbish")
    (sealed,) = await store.seal([landing])
    assert isinstance(sealed, Landing)
    assert await store.place([sealed]) == [Placed(sealed)]
    check = await store.check(landing.name, landing.digest, Unit.BOOK, landing.size_bytes)
    assert check.error is None
    kept = sorted(str(path.relative_to(at(store, ".librarian/bad"))) for path in at(store, ".librarian/bad").rglob("*"))
    assert kept == [landing.digest.hex, f"{landing.digest.hex}.2", f"{landing.digest.hex}.2/x"]


async def test_what_is_withdrawn_leaves_its_name_once_and_over_nothing(store: PosixStore) -> None:
    good = await staged(store, "k", "raw/a", b"good")
    places: list[str] = []
    for name in ("raw/a", "raw/b"):
        at(store, "raw").mkdir(exist_ok=True)
        at(store, name).write_bytes(b"good")
        rel = await keeping_of(store).free_place(good.digest, withdrawn=True)
        places.append(rel)
        for _ in range(2):
            assert await keeping_of(store).move_away(Name(name), good.digest, rel, aside=False)
        assert not at(store, name).exists()
    assert places == [f".librarian/withdrawn/{good.digest.hex}", f".librarian/withdrawn/{good.digest.hex}.2"]
    assert [at(store, place).read_bytes() for place in places] == [b"good", b"good"]
    nowhere = ".librarian/withdrawn/none"
    assert not await keeping_of(store).move_away(good.name, good.digest, nowhere, aside=False), "nothing stood there"


async def test_what_somebody_put_into_a_stored_book_harms_no_member_of_it(store: PosixStore) -> None:
    """A Mac's leavings, beside members and in a directory that is to be empty; a member that is missing still is."""
    book = await staged_book(store, "b", "book", {"a/x": b"x", "d.txt": b"d"}, ["d"])
    (sealed,) = await store.seal([book])
    assert isinstance(sealed, Landing)
    await store.place([sealed])
    right = await store.check(book.name, book.digest, Unit.BOOK, book.size_bytes)
    assert (right.error, right.extra_count) == (None, 0)
    for left in (".DS_Store", "a/._x", "d/.DS_Store", "zz\n"):
        at(store, f"book/{left}").write_bytes(b"?")
    at(store, "book/new").mkdir()
    found = await store.check(book.name, book.digest, Unit.BOOK, book.size_bytes)
    assert (found.error, found.size_bytes, found.extra_count) == (None, 2, 5)
    assert list(found.extra) == [".DS_Store", "a/._x", "d/.DS_Store"]
    (seen,) = await store.look([expected(book)])
    assert (seen.error, seen.extra.count) == (None, 5)
    # What is no file at all is no member either.
    at(store, "book/link").symlink_to("a/x")
    os.mkfifo(at(store, "book/d/pipe"))
    found = await store.check(book.name, book.digest, Unit.BOOK, book.size_bytes)
    assert (found.error, found.size_bytes, found.extra_count) == (None, 2, 7)
    at(store, "book/a/x").unlink()
    lacking = await store.check(book.name, book.digest, Unit.BOOK, book.size_bytes)
    assert lacking.error is not None
    assert "member 'a/x' of the book is missing" in lacking.error.message
    (wrong,) = await store.look([expected(book)])
    assert wrong.error is not None
    # A link in place of a member is none.
    at(store, "book/a/x").symlink_to("../link")
    (wrong,) = await store.look([expected(book)])
    assert wrong.error is not None


async def test_a_directory_that_a_manifest_lists_and_that_is_gone_is_missing(store: PosixStore) -> None:
    book = await staged_book(store, "b", "book", {"d.txt": b"d"}, ["d"])
    (sealed,) = await store.seal([book])
    assert isinstance(sealed, Landing)
    await store.place([sealed])
    at(store, "book/d").rmdir()
    found = await store.check(book.name, book.digest, Unit.BOOK, book.size_bytes)
    assert found.error is not None


async def test_bad_and_good_bytes_change_places_in_one_step(store: PosixStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is never free. Killed right after that, recovery keeps the bad bytes and leaves the good ones."""
    landing = await healing(store)
    (sealed,) = await store.seal([landing])
    assert isinstance(sealed, Landing)
    at(store, "raw").mkdir()
    at(store, "raw/a").write_bytes(b"evil")

    class Killed(Exception):
        pass

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(away, "keep_bad", killed)
        with pytest.raises(Killed):
            await store.place([sealed])
    assert at(store, "raw/a").read_bytes() == b"good"
    assert bad(store) == {}
    assert await store.recover(sealed) == Placed(sealed)
    assert at(store, "raw/a").read_bytes() == b"good"
    assert bad(store) == {landing.digest.hex: b"evil"}
    assert await store.staged() == frozenset()


async def test_where_the_filesystem_cannot_exchange_the_bad_bytes_leave_first(
    store: PosixStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*_: object) -> None:
        raise OSError(errno.EINVAL, "no exchange here")

    monkeypatch.setattr(away, "exchange", cannot)
    landing = await healing(store)
    (sealed,) = await store.seal([landing])
    assert isinstance(sealed, Landing)
    at(store, "raw").mkdir()
    at(store, "raw/a").write_bytes(b"evil")
    assert await store.place([sealed]) == [Placed(sealed)]
    assert at(store, "raw/a").read_bytes() == b"good"
    assert bad(store) == {landing.digest.hex: b"evil"}


async def test_kept_bad_bytes_are_removed_on_request_but_not_what_is_nobody_elses(store: PosixStore) -> None:
    """A file that somebody put into a bad book is kept."""
    book = await staged_book(store, "b", "book", {"x": b"x"}, [])
    (sealed,) = await store.seal([book])
    assert isinstance(sealed, Landing)
    assert await store.place([sealed]) == [Placed(sealed)]
    for name, extra in ((f"{book.digest.hex}", False), (f"{book.digest.hex}.2", True)):
        kept = at(store, f".librarian/bad/{name}")
        kept.mkdir()
        (kept / "x").write_bytes(b"y")
        if extra:
            (kept / "notes.txt").write_bytes(b"mine")
    at(store, ".librarian/bad/other").write_bytes(b"of another file")
    assert not await keeping_of(store).drop_bad(book.digest)
    left = sorted(path.name for path in at(store, ".librarian/bad").iterdir())
    assert left == [f"{book.digest.hex}.2", "other"]
    at(store, f".librarian/bad/{book.digest.hex}.2/notes.txt").unlink()
    for _ in range(2):
        assert await keeping_of(store).drop_bad(book.digest)


async def test_good_members_of_a_bad_book_are_staged_without_a_copy(store: PosixStore) -> None:
    book = await staged_book(store, "b", "book", {"a/x": b"x", "y": b"yy", "z": b"z"}, [])
    (sealed,) = await store.seal([book])
    assert isinstance(sealed, Landing)
    assert await store.place([sealed]) == [Placed(sealed)]
    at(store, "book/y").chmod(0o644)
    at(store, "book/y").write_bytes(b"YY")
    at(store, "book/z").unlink()
    files = [
        MemberFile(MemberPath(path), len(data), Digest.blake3(data))
        for path, data in (("a/x", b"x"), ("y", b"yy"), ("z", b"z"))
    ]
    stage_good = keeping_of(store).stage_good
    assert await stage_good(book.name, files, "t7") == [True, False, False]
    assert at(store, ".librarian/staging/t7/a/x").stat().st_ino == at(store, "book/a/x").stat().st_ino
    assert await stage_good(book.name, files, "t7") == [False, False, False], "it is staged already"
    assert await stage_good(Name("nothing"), files, "t8") == [False, False, False]
    found = await store.check(book.name, book.digest, Unit.BOOK, book.size_bytes)
    assert list(found.bad) == ["y", "z"]
