"""Times, rights and holes of what lands in a store; directories as they are set."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.support import stores
from tests.support.oracle import kept
from tests.support.stores import MAKERS, file_item, staged, staged_book

from librarian_adapters.contract import Item, Part
from librarian_daemon.fs import sparse
from librarian_daemon.ports.store import Landing, NotPlaced, Placed
from librarian_daemon.stores.posix.layout import Marker
from librarian_daemon.stores.posix.modes import Modes
from librarian_daemon.stores.posix.store import PosixStore
from librarian_protocol.attributes import HEADER, Attributes, OfMember, line
from librarian_protocol.digests import Digest
from librarian_protocol.entries import StoreRole
from librarian_protocol.names import SiteName

NS = 1_000_000_000_123_456_789
MEMBERS = {"bin/run": b"#!", "data": b"12345", "z": b""}
OF_MEMBERS = [OfMember(NS, True), OfMember(-5, False), OfMember(NS + 1, False)]
LIST = HEADER + b"".join(map(line, OF_MEMBERS))


@pytest.fixture(params=list(MAKERS))
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> PosixStore:
    made = MAKERS[request.param](tmp_path / "store")
    await made.open()
    return made


async def _book(store: PosixStore, key: str, text: bytes | None, *, digest: Digest | None = None) -> Landing:
    """A book in staging, and beside it a list of attributes."""
    landing = await staged_book(store, key, f"book-{key}", MEMBERS, ["empty"])
    if text is not None:
        item = msgspec.structs.replace(file_item(f"{key}-attributes", text), part=Part.ATTRIBUTES)
        await store.staging.put([(item, text)])
    kept_of = Attributes(mtime_ns=7, list=digest or Digest.blake3(text or LIST))
    return msgspec.structs.replace(landing, attributes=kept_of, list_rel=f"{key}-attributes")


async def _land(store: PosixStore, landing: Landing) -> Landing:
    (sealed,) = await store.seal([landing])
    assert isinstance(sealed, Landing)
    (placed,) = await store.place([sealed])
    assert isinstance(placed, Placed)
    return sealed


async def test_a_file_gets_its_time_and_its_right(store: PosixStore) -> None:
    plain, run = await staged(store, "a", "plain", b"1"), await staged(store, "b", "run", b"2")
    await _land(store, msgspec.structs.replace(plain, attributes=Attributes(mtime_ns=NS)))
    await _land(store, msgspec.structs.replace(run, attributes=Attributes(mtime_ns=-NS, executable=True)))
    assert kept(Path(store.root)) == {"plain": (NS, 0o444), "run": (-NS, 0o555)}


async def test_what_is_not_known_is_left_as_it_is(store: PosixStore) -> None:
    landing = await staged(store, "a", "plain", b"1")
    path = Path(store.staging_root) / "a"
    os.utime(path, ns=(NS, NS))
    await _land(store, landing)
    assert kept(Path(store.root)) == {"plain": (NS, 0o444)}


async def test_members_of_a_book_get_theirs_by_the_list(store: PosixStore) -> None:
    landing = await _book(store, "a", LIST)
    assert await _land(store, landing) == landing
    assert kept(Path(store.root) / "book-a") == {
        "bin/run": (NS, 0o555),
        "data": (-5, 0o444),
        "z": (NS + 1, 0o444),
    }
    reader = await store.open_part(landing.name, Digest.blake3(LIST), Part.ATTRIBUTES, None)
    assert os.pread(reader.fileno(), reader.size_bytes, 0) == LIST
    reader.close()
    again = await staged_book(store, "b", "again", MEMBERS, ["empty"])
    await _land(store, msgspec.structs.replace(again, attributes=landing.attributes))
    assert kept(Path(store.root) / "again") == kept(Path(store.root) / "book-a"), "the list stood in its place"


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        (None, None),
        (LIST, Digest.blake3(b"another")),
        (HEADER + line(OF_MEMBERS[0]), None),
        (LIST + line(OF_MEMBERS[0]), None),
        (LIST + b"x", None),
        (LIST[:-1], None),
        (b"", None),
        (LIST + bytes(4096), None),
    ],
    ids=["missing", "another", "too short", "too long", "broken", "cut", "empty", "large"],
)
async def test_a_list_that_does_not_fit_is_ignored(
    store: PosixStore, text: bytes | None, digest: Digest | None
) -> None:
    """Not half of it is heeded, and the book is whole."""
    landing = await _book(store, "a", text, digest=digest)
    sealed = await _land(store, landing)
    assert (sealed.attributes.list, sealed.list_rel) == (None, "")
    assert {mode for _, mode in kept(Path(store.root)).values()} == {0o444}
    assert -5 not in {mtime_ns for mtime_ns, _ in kept(Path(store.root)).values()}
    check = await store.check(landing.name, landing.digest, landing.unit, landing.size_bytes)
    assert check.error is None
    assert list((Path(store.root) / ".librarian" / "attributes").iterdir()) == []


async def _begun(store: PosixStore) -> Landing:
    """Sealed, and its row is written; what was not fsynced is lost."""
    (landing,) = await store.seal([await _book(store, "a", LIST)])
    assert isinstance(landing, Landing)
    for path in (Path(store.staging_root) / landing.rel).rglob("*"):
        if path.is_file():
            path.chmod(0o600)
            os.utime(path, ns=(0, 0))
    return landing


def _nothing(_store: PosixStore, _landing: Landing) -> None:
    """The crash came before anything was renamed."""


def _list_placed(store: PosixStore, landing: Landing) -> None:
    assert landing.attributes.list is not None
    lists = Path(store.root) / ".librarian" / "attributes" / landing.attributes.list.hex
    (Path(store.staging_root) / landing.list_rel).rename(lists)


def _book_placed(store: PosixStore, landing: Landing) -> None:
    _list_placed(store, landing)
    manifests = Path(store.root) / ".librarian" / "manifests" / landing.digest.hex
    (Path(store.staging_root) / landing.manifest_rel).rename(manifests)
    (Path(store.staging_root) / landing.rel).rename(Path(store.root) / landing.name)


@pytest.mark.parametrize("crashed", [_nothing, _list_placed, _book_placed])
async def test_a_landing_that_a_crash_interrupted_ends_alike(
    store: PosixStore, crashed: Callable[[PosixStore, Landing], None]
) -> None:
    """Wherever the crash came, sealed or half sealed; and what is done twice stays as it is."""
    landing = await _begun(store)
    crashed(store, landing)
    for _ in range(2):
        assert isinstance(await store.recover(landing), Placed)
        assert kept(Path(store.root) / "book-a") == {
            "bin/run": (NS, 0o555),
            "data": (-5, 0o444),
            "z": (NS + 1, 0o444),
        }


async def test_a_list_that_vanished_after_a_crash_keeps_no_book_away(store: PosixStore) -> None:
    landing = await _begun(store)
    (Path(store.staging_root) / landing.list_rel).unlink()
    outcome = await store.recover(landing)
    assert isinstance(outcome, Placed)
    assert outcome.landing.attributes.list is None, "it is not told of"


# ---- directories -----------------------------------------------------------------------------------------


async def _shared(root: Path, modes: Modes) -> PosixStore:
    marker = Marker(id=stores.STORE_ID, label="archive", site=SiteName.parse("here"))
    PosixStore.create(str(root), marker, modes)
    made = PosixStore(str(root), marker, StoreRole.ARCHIVE, modes=modes)
    await made.open()
    return made


def _directories(root: Path) -> set[tuple[int, int]]:
    found = [root, *(path for path in root.rglob("*") if path.is_dir() and ".librarian" not in path.parts)]
    return {(stat.S_IMODE(path.stat().st_mode), path.stat().st_gid) for path in found}


@pytest.mark.parametrize("mode", [0o2750, 0o750, 0o700, 0o2775])
async def test_directories_get_mode_and_group_whatever_the_umask_says(tmp_path: Path, mode: int) -> None:
    """Above names and within books, the root too where it is made; and so does what stands in them."""
    gid = next((group for group in os.getgroups() if group != os.getegid()), os.getegid())
    if os.geteuid() == 0:
        gid = 4711
    before = os.umask(0o077)
    try:
        made = await _shared(tmp_path / "store", Modes(directory=mode, group=gid))
        await _land(made, await staged(made, "f", "a/b/c/file", b"1"))
        await _land(made, await staged_book(made, "b", "d/book", MEMBERS, ["empty/of all"]))
    finally:
        os.umask(before)
    assert _directories(tmp_path / "store") == {(mode, gid)}
    files = [path for path in (tmp_path / "store").rglob("*") if path.is_file() and ".librarian" not in path.parts]
    assert {(stat.S_IMODE(path.stat().st_mode), path.stat().st_gid) for path in files} == {(0o444, gid)}
    ours = tmp_path / "store" / ".librarian"
    for path in (ours, ours / "manifests", ours / "attributes"):
        assert stat.S_IMODE(path.stat().st_mode) == mode & ~0o022
    assert stat.S_IMODE((ours / "staging").stat().st_mode) & 0o777 == 0o700


async def test_a_directory_that_a_crash_left_half_made_gets_its_mode(tmp_path: Path) -> None:
    """It is empty then. What others made is theirs."""
    made = await _shared(tmp_path / "store", Modes(directory=0o2750))
    (tmp_path / "store/a").mkdir(mode=0o700)
    (tmp_path / "store/theirs/deeper").mkdir(parents=True)
    (tmp_path / "store/theirs").chmod(0o711)
    await _land(made, await staged(made, "f", "a/b/file", b"1"))
    await _land(made, await staged(made, "g", "theirs/file", b"1"))
    modes = {name: stat.S_IMODE((tmp_path / "store" / name).stat().st_mode) for name in ("a", "a/b", "theirs")}
    assert modes == {"a": 0o2750, "a/b": 0o2750, "theirs": 0o711}


async def test_a_group_that_may_not_be_given_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await _shared(tmp_path / "store", Modes())

    def refused(fd: int, uid: int, gid: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refused)
    other = PosixStore(made.root, made.marker, StoreRole.ARCHIVE, modes=Modes(group=4711))
    (sealed,) = await other.seal([await staged(made, "f", "a/file", b"1")])
    assert isinstance(sealed, NotPlaced)
    assert "the group with id 4711" in sealed.error.message


# ---- holes -----------------------------------------------------------------------------------------------

BLOCK = sparse.BLOCK_BYTES
SHAPES = [
    [b"x"],
    [bytes(10 * BLOCK)],
    [bytes(100 * BLOCK) + b"x"],
    [b"x" + bytes(100 * BLOCK)],
    [b"x" * 10, bytes(3 * BLOCK), bytes(BLOCK - 10), b"y" * BLOCK, bytes(7), b"z"],
    [bytes(BLOCK - 1), bytes(1), b"\0" * (BLOCK - 1) + b"x", b""],
]


@pytest.mark.parametrize("pieces", SHAPES)
async def test_zeros_take_no_room_and_every_byte_is_right(store: PosixStore, pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    item = file_item("f", data)
    sink = await store.staging.create(item)
    for piece in pieces:
        await sink.write(piece)
    await sink.close()
    assert await store.staging.read_back(item) == (len(data), item.digest)
    await store.staging.put([(file_item("g", data), data)])
    assert await store.staging.read_back(file_item("g", data)) == (len(data), item.digest)
    for key in ("f", "g"):
        room = (Path(store.staging_root) / key).stat().st_blocks * 512
        assert room <= BLOCK * (1 + sum(1 for at in range(0, len(data), BLOCK) if data[at : at + BLOCK].strip(b"\0")))


@pytest.mark.parametrize("lost", [0, 1, BLOCK, 5 * BLOCK + 3])
async def test_what_a_crash_left_of_a_hole_is_gone_on_with(store: PosixStore, lost: int) -> None:
    """The zeros at the end do not stand there yet: they are brought again."""
    data = b"x" * 100 + bytes(10 * BLOCK) + b"y" * 50
    item = file_item("f", data)
    (Path(store.staging_root) / "f").write_bytes(data[: len(data) - 50 - lost])
    sink = await store.staging.create(item, resume=True)
    await sink.write(data[sink.offset :])
    await sink.close()
    assert await store.staging.read_back(item) == (len(data), item.digest)


async def test_a_shorter_try_leaves_nothing_of_the_one_before(store: PosixStore) -> None:
    before, data = b"x" * 40_000, bytes(20_000)
    await store.staging.put([(file_item("f", before), before)])
    item: Item = file_item("f", data)
    sink = await store.staging.create(item)
    await sink.write(data)
    await sink.close()
    assert await store.staging.read_back(item) == (len(data), item.digest)
