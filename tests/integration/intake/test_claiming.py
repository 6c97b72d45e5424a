"""A file is opened once, to be looked at, claimed and read: what happens when somebody is quicker."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.support.intake import Rig

from librarian_daemon.fs.kept import Kept, move
from librarian_daemon.intake.directory import claims
from librarian_daemon.intake.directory.claims import Claims, Replaced
from librarian_daemon.intake.directory.drop import Drop
from librarian_daemon.intake.directory.examination import Examined, Gone
from librarian_daemon.intake.directory.lease import StillWritten
from librarian_daemon.intake.directory.scanner import Candidate, Scanner
from librarian_daemon.intake.directory.watcher import Watcher
from librarian_daemon.ports.ledger import NameStatus
from librarian_daemon.runtime.signals import Signal
from librarian_protocol.digests import Digest
from librarian_protocol.names import Name

BATCH = b"00000000000000000000000000000000"


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    rig = Rig(tmp_path)
    Drop(str(rig.drop)).prepare()
    return rig


def candidates(rig: Rig) -> list[Candidate]:
    scanner = Scanner(rig.settings())
    with Drop(str(rig.drop)).opened("testing") as fd:
        return [item for item in scanner.walk(fd) if isinstance(item, Candidate)]


def claim(rig: Rig, *, before: Sequence[Candidate] | None = None) -> Claims:
    drop = Drop(str(rig.drop))
    return claims.claim(drop, drop.identity(), BATCH, candidates(rig) if before is None else before)


class Meanwhile:
    """Does something between the look at a file and its rename, or behind it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, before: bool) -> None:
        self._before = before
        monkeypatch.setattr("librarian_daemon.intake.directory.claims.move", self._move)

    def _move(self, source: Kept, old: bytes, target: Kept, new: bytes) -> None:
        if self._before:
            self.act()
        move(source, old, target, new)
        if not self._before:
            self.act()

    def act(self) -> None:
        raise NotImplementedError


def test_small_files_are_read_as_they_are_claimed(rig: Rig) -> None:
    rig.dropped("a/x", b"bytes")
    (rig.drop / "large").write_bytes(bytes(claims.READ_AT_ONCE_BYTES + 1))
    made = claim(rig)
    assert sorted(claimed.rel for claimed in made.claimed) == [b"a/x", b"large"]
    assert list(made.read) == [b"a/x"]
    read = made.read[b"a/x"]
    assert isinstance(read, Examined)
    assert (read.digest, read.size_bytes) == (Digest.blake3(b"bytes"), 5)


def test_what_is_open_for_writing_is_not_claimed(rig: Rig) -> None:
    with rig.dropped("x").open("ab"):
        made = claim(rig)
    assert made.claimed == []
    assert [(left.rel, left.reason) for left in made.left] == [(b"x", "still-being-written")]
    assert (rig.drop / "x").read_bytes() == b"data"


def test_what_was_swapped_before_its_rename_is_not_taken_for_what_was_opened(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.dropped("x", b"first")

    class Swap(Meanwhile):
        def act(self) -> None:
            rig.dropped("y", b"second").rename(rig.drop / "x")

    Swap(monkeypatch, before=True)
    made = claim(rig)
    assert [claimed.rel for claimed in made.claimed] == [b"x"]
    assert made.read == {}  # it is read where it is
    assert (rig.drop / os.fsdecode(made.claimed[0].path)).read_bytes() == b"second"


def test_what_vanished_behind_its_rename_is_gone(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.dropped("x")

    class Remove(Meanwhile):
        def act(self) -> None:
            (rig.drop / ".claimed" / os.fsdecode(BATCH) / "x").unlink()

    Remove(monkeypatch, before=False)
    made = claim(rig)
    assert isinstance(made.read[b"x"], Gone)


def test_who_opens_it_for_writing_behind_its_rename_is_noticed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.dropped("x")

    class Open(Meanwhile):
        def act(self) -> None:
            with pytest.raises(BlockingIOError):  # the lease holds it up, and is told of it
                os.open(rig.drop / ".claimed" / os.fsdecode(BATCH) / "x", os.O_WRONLY | os.O_NONBLOCK)

    Open(monkeypatch, before=False)
    made = claim(rig)
    assert isinstance(made.read[b"x"], StillWritten)


def test_a_directory_in_place_of_a_file_is_refused_and_keeps_its_mode(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.dropped("x")
    before = candidates(rig)
    (rig.drop / "x").unlink()
    (rig.drop / "x").mkdir()
    (rig.drop / "x").chmod(0o777)
    made = claim(rig, before=before)
    assert not isinstance(made.read[b"x"], Examined)
    assert (rig.drop / os.fsdecode(made.claimed[0].path)).stat().st_mode & 0o777 == 0o777


def test_nothing_is_claimed_in_another_directory_than_the_one_that_was_prepared(rig: Rig) -> None:
    rig.dropped("x")
    drop = Drop(str(rig.drop))
    identity = drop.identity()
    rig.drop.rename(rig.drop.with_name("away"))
    rig.drop.mkdir()
    rig.dropped("x")
    with pytest.raises(Replaced):
        claims.claim(drop, identity, BATCH, candidates(rig))
    assert os.listdir(rig.drop) == ["x"]


async def test_what_arrives_while_a_batch_lands_is_claimed_meanwhile(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    held = asyncio.Event()
    real = rig.ledger.standing

    async def standing(store: str, files: Sequence[tuple[Name, Digest]]) -> Sequence[tuple[NameStatus, str]]:
        if str(files[0][0]) == "first":
            await held.wait()
        return await real(store, files)

    monkeypatch.setattr(rig.ledger, "standing", standing)

    def moved_in(name: str) -> None:
        made = rig.drop.with_name(name)
        made.write_bytes(name.encode())
        made.rename(rig.drop / name)

    async with rig.running() as intake:
        moved_in("first")
        await rig.until(lambda: any(path.name == "first" for path in rig.claimed()))
        moved_in("second")
        await rig.until(lambda: any(path.name == "second" for path in rig.claimed()))
        await rig.until(lambda: {item.name for item in intake.snapshot().waiting_items} == {"first", "second"})
        assert rig.ledger.names == []
        held.set()
        await rig.accepted("first", "second")
        await rig.until(lambda: rig.claimed() == [])
    assert rig.ledger.names == ["first", "second"]


async def test_a_claims_own_events_are_read_when_it_has_ended(tmp_path: Path) -> None:
    watcher = Watcher(Signal())
    watcher.start()
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    running = asyncio.create_task(watcher.run())
    try:
        watcher.add(fd, b"")
        with watcher.not_read():
            for number in range(100):
                (tmp_path / f"{number}").touch()
            for _ in range(10):
                await asyncio.sleep(0)
            assert watcher.take().paths == {}
        heard: set[bytes] = set()
        async with asyncio.timeout(10.0):
            while len(heard) < 100:
                heard |= set(watcher.take().paths)
                await asyncio.sleep(0.01)
        assert heard == {b"%d" % number for number in range(100)}
    finally:
        running.cancel()
        await asyncio.wait([running])
        watcher.close()
        os.close(fd)
