"""What every store does: staging, sealing, placing, recovering, checking, giving away."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.support.stores import file_item, staged, staged_book

from librarian_daemon.ports import Landing, NotPlaced, Placed, Store
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Unit
from librarian_protocol.errors import (
    ChecksumMismatch,
    ManifestInvalid,
    NameOccupied,
    SizeMismatch,
    SourceMissing,
    StoreError,
    StoreNotMounted,
)
from librarian_protocol.manifest import MemberDirectory, MemberFile
from librarian_protocol.names import MemberPath, Name

BOOK = {"a/x": b"1", "a.b": b"", "a-": b"33", "sub/deep/er": b"4" * 5000}
EMPTY = ["empty", "z/y"]


async def stored(store: Store, landing: Landing) -> None:
    (sealed,) = await store.seal([landing])
    assert isinstance(sealed, Landing)
    (placed,) = await store.place([sealed])
    assert isinstance(placed, Placed)


def path_of(store: Store, name: str) -> Path:
    return Path(store.root) / name


async def read(store: Store, name: str, digest: Digest, part: str, member: str | None = None) -> bytes:
    reader = await store.open_part(Name.parse(name), digest, part, None if member is None else MemberPath.parse(member))
    try:
        data = os.pread(reader.fileno(), reader.size_bytes + 1, 0)
        assert len(data) == reader.size_bytes
        return data
    finally:
        reader.close()
        reader.close()


# ---- staging ---------------------------------------------------------------------------------------------


async def test_what_is_written_is_read_back(store: Store) -> None:
    item = file_item("k1", b"hello world")
    sink = await store.staging.create(item)
    assert sink.offset == 0
    await sink.write(b"hello ")
    await sink.write(memoryview(b"world"))
    await sink.close()
    await sink.close()
    assert await store.staging.read_back(item) == (11, Digest.blake3(b"hello world"))


async def test_writing_resumes_behind_what_is_there_and_else_begins_anew(store: Store) -> None:
    item = file_item("k1", b"hello world")
    await store.staging.put([(item, b"hello ")])
    sink = await store.staging.create(item, resume=True)
    assert sink.offset == 6
    await sink.write(b"world")
    await sink.close()
    assert await store.staging.read_back(item) == (11, item.digest)
    sink = await store.staging.create(item)
    await sink.close()
    assert (await store.staging.read_back(item))[0] == 0


async def test_more_than_there_should_be_is_not_resumed(store: Store) -> None:
    item = file_item("k1", b"short")
    await store.staging.put([(item, b"far too long")])
    sink = await store.staging.create(item, resume=True)
    assert sink.offset == 0
    await sink.close()


async def test_a_closed_sink_takes_nothing(store: Store) -> None:
    sink = await store.staging.create(file_item("k1", b"x"))
    await sink.close()
    with pytest.raises(StoreError):
        await sink.write(b"x")
    assert sink.fileno() is None


async def test_discarding_is_idempotent(store: Store) -> None:
    item = file_item("k1", b"x")
    await store.staging.put([(item, b"x")])
    await store.staging.discard(item)
    await store.staging.discard(item)
    with pytest.raises(StoreError):
        await store.staging.read_back(item)


async def test_what_is_staged_is_listed_and_goes_when_it_is_discarded(store: Store) -> None:
    for key in ("keep", "gone", "tree/a/b"):
        await store.staging.put([(file_item(key, b"x"), b"x")])
    assert await store.staged() == {"keep", "gone", "tree"}
    await store.discard(["gone", "tree", "never"])
    assert await store.staged() == {"keep"}
    assert (await store.staging.read_back(file_item("keep", b"x")))[0] == 1


# ---- single files ----------------------------------------------------------------------------------------


async def test_a_sealed_file_comes_to_its_name(store: Store) -> None:
    landing = await staged(store, "k1", "a/b/c", b"data")
    await stored(store, landing)
    assert path_of(store, "a/b/c").read_bytes() == b"data"
    assert path_of(store, "a/b/c").stat().st_mode & 0o777 == 0o444
    assert await read(store, "a/b/c", landing.digest, "file") == b"data"
    check = await store.check(landing.name, landing.digest, Unit.FILE, 4)
    assert (check.error, check.digest, check.size_bytes) == (None, landing.digest, 4)


async def test_a_large_batch_comes_to_its_names_in_order(store: Store) -> None:
    landings = [await staged(store, f"k{n}", f"d{n % 7}/f{n}", b"%d" % n) for n in range(200)]
    sealed = await store.seal(landings)
    assert sealed == landings
    assert await store.place(landings) == [Placed(landing) for landing in landings]


async def test_placing_twice_is_placing_once(store: Store) -> None:
    landing = await staged(store, "k1", "x", b"data")
    await stored(store, landing)
    assert await store.place([landing]) == [Placed(landing)]
    assert await store.recover(landing) == Placed(landing)


async def test_nothing_is_ever_overwritten(store: Store) -> None:
    path_of(store, "x").write_bytes(b"whose?")
    landing = await staged(store, "k1", "x", b"mine!!")
    good = await staged(store, "k2", "y", b"good")
    await store.seal([landing, good])
    bad, placed = await store.place([landing, good])
    assert isinstance(bad, NotPlaced)
    assert isinstance(bad.error, NameOccupied)
    assert isinstance(placed, Placed)
    assert path_of(store, "x").read_bytes() == b"whose?"
    assert (await store.staging.read_back(file_item("k1", b"mine!!")))[1] == landing.digest
    assert isinstance(await store.recover(landing), NotPlaced)


async def test_a_directory_or_a_file_in_the_way_is_not_overwritten(store: Store) -> None:
    path_of(store, "x/y").mkdir(parents=True)
    for name in ("x/y", "z/below"):
        path_of(store, "z").write_bytes(b"file")
        landing = await staged(store, "k1", name, b"data")
        await store.seal([landing])
        (outcome,) = await store.place([landing])
        assert isinstance(outcome, NotPlaced)
        assert isinstance(outcome.error, NameOccupied)


async def test_the_same_bytes_at_the_name_already_count_as_placed(store: Store) -> None:
    path_of(store, "x").write_bytes(b"data")
    landing = await staged(store, "k1", "x", b"data")
    await store.seal([landing])
    assert await store.place([landing]) == [Placed(landing)]
    assert (await store.staging.read_back(file_item("k1", b"data")))[0] == 4


async def test_bytes_that_are_nowhere_are_not_placed(store: Store) -> None:
    landing = await staged(store, "k1", "x", b"data")
    await store.staging.discard(file_item("k1", b"data"))
    for outcome in (*await store.seal([landing]), *await store.place([landing]), await store.recover(landing)):
        assert isinstance(outcome, NotPlaced)
        assert isinstance(outcome.error, SourceMissing)


async def test_a_file_of_another_size_is_not_sealed(store: Store) -> None:
    landing = await staged(store, "k1", "x", b"data")
    await store.staging.put([(file_item("k1", b"data"), b"dat")])
    (outcome,) = await store.seal([landing])
    assert isinstance(outcome, NotPlaced)
    assert isinstance(outcome.error, SizeMismatch)


async def test_recovering_reads_the_bytes_again(store: Store) -> None:
    landing = await staged(store, "k1", "x", b"data")
    await store.staging.put([(file_item("k1", b"data"), b"rot!")])
    outcome = await store.recover(landing)
    assert isinstance(outcome, NotPlaced)
    assert isinstance(outcome.error, ChecksumMismatch)
    assert not path_of(store, "x").exists()
    await store.staging.put([(file_item("k1", b"data"), b"data")])
    assert await store.recover(landing) == Placed(landing)


async def test_checking_finds_what_is_wrong(store: Store) -> None:
    landing = await staged(store, "k1", "x", b"data")
    check = await store.check(landing.name, landing.digest, Unit.FILE, 4)
    assert isinstance(check.error, SourceMissing)
    await stored(store, landing)
    path_of(store, "x").chmod(0o644)
    path_of(store, "x").write_bytes(b"dbta")
    check = await store.check(landing.name, landing.digest, Unit.FILE, 4)
    assert isinstance(check.error, ChecksumMismatch)
    assert check.digest == Digest.blake3(b"dbta")
    path_of(store, "x").write_bytes(b"longer")
    check = await store.check(landing.name, landing.digest, Unit.FILE, 4)
    assert isinstance(check.error, SizeMismatch)
    assert check.size_bytes == 6


async def test_what_is_not_there_cannot_be_opened(store: Store) -> None:
    digest = Digest.blake3(b"")
    for part, member in (("file", None), ("manifest", None), ("member", "m"), ("file", None)):
        with pytest.raises(SourceMissing):
            await read(store, "x", digest, part, member)
    path_of(store, "dir").mkdir()
    with pytest.raises(SourceMissing):
        await read(store, "dir", digest, "file")


async def test_space_is_told(store: Store) -> None:
    space = await store.space()
    assert 0 < space.free_bytes <= space.total_bytes


# ---- books -----------------------------------------------------------------------------------------------


async def test_a_book_comes_to_its_name_with_its_empty_directories(store: Store) -> None:
    landing = await staged_book(store, "k1", "n/book", BOOK, EMPTY)
    pages = [page async for page in store.staged_manifest("k1-manifest", landing.digest)]
    await stored(store, landing)
    assert {path for path in BOOK if path_of(store, f"n/book/{path}").read_bytes() == BOOK[path]} == set(BOOK)
    assert path_of(store, "n/book/z/y").is_dir()
    check = await store.check(landing.name, landing.digest, Unit.BOOK, landing.size_bytes)
    assert (check.error, check.digest, check.size_bytes) == (None, landing.digest, landing.size_bytes)
    assert [page async for page in store.manifest(landing.digest)] == pages
    assert {member.path for page in pages for member in page} == {*BOOK, *EMPTY}
    assert await read(store, "n/book", landing.digest, "member", "sub/deep/er") == BOOK["sub/deep/er"]
    assert Digest.blake3(await read(store, "n/book", landing.digest, "manifest")) == landing.digest
    assert await store.place([landing]) == [Placed(landing)]
    assert await store.recover(landing) == Placed(landing)


@pytest.mark.parametrize(("files", "empty"), [({}, []), ({}, ["only"]), ({"f": b""}, [])])
async def test_a_book_of_next_to_nothing_is_stored(store: Store, files: dict[str, bytes], empty: list[str]) -> None:
    landing = await staged_book(store, "k1", "book", files, empty)
    await stored(store, landing)
    check = await store.check(landing.name, landing.digest, Unit.BOOK, 0)
    assert check.error is None


async def test_two_books_of_one_content_share_a_manifest(store: Store) -> None:
    for number in (1, 2):
        await stored(store, await staged_book(store, f"k{number}", f"book{number}", BOOK, EMPTY))
    assert await store.staged() == frozenset()


async def test_a_book_is_recovered_wherever_a_crash_left_it(store: Store) -> None:
    landing = await staged_book(store, "k1", "book", BOOK, EMPTY)
    await store.seal([landing])
    root = Path(store.root)
    (Path(store.staging_root) / "k1-manifest").rename(root / f".librarian/manifests/{landing.digest.hex}")
    assert await store.recover(landing) == Placed(landing)
    check = await store.check(landing.name, landing.digest, Unit.BOOK, landing.size_bytes)
    assert check.error is None


@pytest.mark.parametrize("spoil", ["extra", "missing", "changed", "size", "empty-gone", "link", "extra-directory"])
async def test_a_book_that_is_not_what_its_manifest_lists_is_found_out(store: Store, spoil: str) -> None:
    landing = await staged_book(store, "k1", "book", BOOK, EMPTY)
    await stored(store, landing)
    book = path_of(store, "book")
    for path in book.rglob("*"):
        path.chmod(0o755)
    match spoil:
        case "extra":
            (book / "a0").write_bytes(b"")
        case "missing":
            (book / "a-").unlink()
        case "changed":
            (book / "a-").write_bytes(b"34")
        case "size":
            (book / "a-").write_bytes(b"3")
        case "empty-gone":
            (book / "empty").rmdir()
        case "link":
            (book / "a-").unlink()
            (book / "a-").symlink_to("a.b")
        case _:
            (book / "new").mkdir()
    check = await store.check(landing.name, landing.digest, Unit.BOOK, landing.size_bytes)
    assert isinstance(check.error, (ChecksumMismatch, SourceMissing, SizeMismatch))
    assert check.digest is None


async def test_a_staged_book_with_something_besides_is_not_sealed(store: Store) -> None:
    landing = await staged_book(store, "k1", "book", BOOK, EMPTY)
    await store.staging.put([(file_item("k1/sub/other", b"x"), b"x")])
    (outcome,) = await store.seal([landing])
    assert isinstance(outcome, NotPlaced)
    assert isinstance(outcome.error, ChecksumMismatch)


async def test_a_large_manifest_comes_in_pages(store: Store) -> None:
    files = {f"{number:05}": b"" for number in range(2500)}
    landing = await staged_book(store, "k1", "book", files, [])
    await stored(store, landing)
    pages = [page async for page in store.manifest(landing.digest)]
    assert max(map(len, pages)) <= 1000
    assert [member.path for page in pages for member in page] == sorted(files)
    assert all(isinstance(member, MemberFile) and not isinstance(member, MemberDirectory) for member in pages[0])


async def test_a_manifest_that_is_another_or_none_is_refused(store: Store) -> None:
    landing = await staged_book(store, "k1", "book", BOOK, EMPTY)
    with pytest.raises(ManifestInvalid):
        async for _ in store.staged_manifest("k1-manifest", Digest.blake3(b"other")):
            pass
    with pytest.raises(StoreError):
        async for _ in store.staged_manifest("nothing", landing.digest):
            pass
    with pytest.raises(SourceMissing):
        async for _ in store.manifest(landing.digest):
            pass


# ---- confinement and mounting ----------------------------------------------------------------------------


async def test_a_link_in_the_namespace_is_never_followed(store: Store, tmp_path: Path) -> None:
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


async def test_a_store_that_is_not_mounted_says_so_and_nothing_else(store: Store, tmp_path: Path) -> None:
    landing = await staged(store, "k1", "x", b"data")
    await stored(store, landing)
    later = await staged(store, "k2", "y", b"later")
    root = Path(store.root)
    root.rename(tmp_path / "away")
    root.mkdir()
    with pytest.raises(StoreNotMounted):
        await store.open()
    with pytest.raises(StoreNotMounted):
        await read(store, "x", landing.digest, "file")
    with pytest.raises(StoreNotMounted):
        await store.staging.create(file_item("k3", b""))
    with pytest.raises(StoreNotMounted):
        await store.space()
    check = await store.check(landing.name, landing.digest, Unit.FILE, 4)
    assert isinstance(check.error, StoreNotMounted)
    for outcome in (*await store.seal([later]), *await store.place([later]), await store.recover(later)):
        assert isinstance(outcome, NotPlaced)
        assert isinstance(outcome.error, StoreNotMounted)
    assert list(root.iterdir()) == []
    root.rmdir()
    (tmp_path / "away").rename(root)
    await stored(store, later)
