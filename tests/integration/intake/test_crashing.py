"""Whatever step a crash interrupts, a new start ends with each file accepted exactly once and nothing lost (I16)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support.intake import Hook, Rig

from librarian_adapters.contract import Staging
from librarian_daemon.ports.store import Check, Landing, Looked, NotPlaced, PartRead, Placed, Reader, Space, WantedPart
from librarian_daemon.ports.store_capabilities import Expected
from librarian_daemon.stores.posix.store import PosixStore
from librarian_protocol.digests import Digest
from librarian_protocol.entries import StoreRole, Unit
from librarian_protocol.manifest import Member
from librarian_protocol.names import MemberPath, Name

FILES = {"a/1": b"one", "a/b/2": b"two" * 1000, "3": b"", "same": b"one"}
STEPS = [
    "standing", "seal", "sealed", "begin", "begun", "place", "placed", "accept", "accepted",
]  # fmt: skip
#: Renames and removals of intake itself: a crash before, and one after each.
MOVES = [
    "librarian_daemon.intake.directory.claims.move",
    "librarian_daemon.intake.directory.claims.fsync_directories",
    "librarian_daemon.intake.directory.claims.tidy",
    "librarian_daemon.intake.directory.claims.remove",
    "librarian_daemon.intake.directory.rejection.move",
    "librarian_daemon.intake.directory.rejection.write_file",
    "librarian_daemon.stores.posix.placer.move",
    "librarian_daemon.stores.posix.sealer.fsync",
]


class Crash(BaseException):
    """The process ends here."""


class Crashing:
    """Raises :class:`Crash` when a step comes for the n-th time."""

    def __init__(self, step: str, nth: int = 1) -> None:
        self._step = step
        self._left = nth
        self.struck = False

    def __call__(self, step: str) -> None:
        if step == self._step and not self.struck:
            self._left -= 1
            if self._left == 0:
                self.struck = True
                raise Crash(step)


class HookedStore:
    """A store that says what it is about to do, and what it did."""

    def __init__(self, store: PosixStore, hook: Hook) -> None:
        self._store = store
        self._hook = hook
        self.id = store.id
        self.label = store.label
        self.role: StoreRole = store.role
        self.location = store.location
        self.names = store.names
        self.can = store.can

    @property
    def staging(self) -> Staging:
        return self._store.staging

    @property
    def staging_root(self) -> str:
        return self._store.staging_root

    async def has_staged(self, key: str) -> bool:
        return await self._store.has_staged(key)

    async def seal(self, landings: Sequence[Landing]) -> Sequence[Landing | NotPlaced]:
        self._hook("seal")
        sealed = await self._store.seal(landings)
        self._hook("sealed")
        return sealed

    async def place(self, landings: Sequence[Landing]) -> Sequence[Placed | NotPlaced]:
        self._hook("place")
        for number, landing in enumerate(landings):
            await self._store.place([landing])
            if number == 0:
                self._hook("half-placed")
        placed = await self._store.place(landings)
        self._hook("placed")
        return placed

    async def recover(self, landing: Landing) -> Placed | NotPlaced:
        self._hook("recover")
        found = await self._store.recover(landing)
        self._hook("recovered")
        return found

    async def check(self, name: Name, digest: Digest, unit: Unit, size_bytes: int) -> Check:
        return await self._store.check(name, digest, unit, size_bytes)

    async def look(self, wanted: Sequence[Expected]) -> Sequence[Looked]:
        return await self._store.look(wanted)

    async def open_part(self, name: Name, digest: Digest, part: str, member: MemberPath | None) -> Reader:
        return await self._store.open_part(name, digest, part, member)

    async def read_parts(self, wanted: Sequence[WantedPart]) -> Sequence[PartRead]:
        return await self._store.read_parts(wanted)

    def manifest(self, digest: Digest) -> AsyncIterator[Sequence[Member]]:
        return self._store.manifest(digest)

    def staged_manifest(self, key: str, digest: Digest) -> AsyncIterator[Sequence[Member]]:
        return self._store.staged_manifest(key, digest)

    async def space(self) -> Space:
        return await self._store.space()

    async def discard(self, keys: Sequence[str]) -> None:
        await self._store.discard(keys)

    async def staged(self) -> frozenset[str]:
        return await self._store.staged()


async def _until_crash(rig: Rig, crash: Crashing, **settings: Any) -> None:
    """Run an intake until it crashes, however deep."""
    intake = rig.intake(store=HookedStore(rig.store, crash), **settings)

    async def life() -> None:
        await intake.recover()
        await intake.run()

    rig.ledger.hook = crash
    try:
        async with asyncio.timeout(10):
            try:
                await life()
            except Crash:
                pass
            except BaseExceptionGroup as group:
                only, others = group.split(Crash)
                assert only is not None, others
    finally:
        rig.ledger.hook = lambda _: None


async def _until_struck(rig: Rig, crash: Crashing, **settings: Any) -> None:
    await _until_crash(rig, crash, **settings)
    assert crash.struck


async def _afterwards(rig: Rig, names: Sequence[str], *, clean: bool = False, **settings: Any) -> None:
    """A new start, then everything is as if nothing had happened."""
    if clean:  # as the composition root does: nothing in staging belongs to a transfer
        await rig.store.discard(sorted(await rig.store.staged()))
    async with rig.running(**settings):
        await rig.accepted(*names)
        await rig.until(lambda: rig.claimed() == [])
    assert rig.ledger.landings == {}
    assert rig.rejected() == {}
    left = [path for path in rig.drop.rglob("*") if not {".claimed", ".rejected"} & set(path.parts)]
    assert [path for path in left if path.is_file()] == []


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("step", [*STEPS, "half-placed"])
@pytest.mark.fault(1)
async def test_a_crash_at_any_step_loses_no_file(rig: Rig, step: str, *, copied: bool, clean: bool) -> None:
    for name, data in FILES.items():
        path = rig.dropped(name, data)
        if copied and name != "3":
            os.link(path, rig.root.parent / name.replace("/", "_"))
    await rig.store.open()
    await _until_struck(rig, Crashing(step), complete="rename")
    await _afterwards(rig, list(FILES), clean=clean, complete="rename")
    assert {name: (rig.root / name).read_bytes() for name in FILES} == FILES


@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.fault(1)
async def test_a_crash_while_the_next_batch_is_claimed_loses_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, step: str, nth: int
) -> None:
    monkeypatch.setattr("librarian_daemon.intake.service.BATCH_FILES", 1)
    for name, data in FILES.items():
        rig.dropped(name, data)
    await rig.store.open()
    await _until_struck(rig, Crashing(step, nth), complete="rename")
    await _afterwards(rig, list(FILES), clean=True, complete="rename")
    assert {name: (rig.root / name).read_bytes() for name in FILES} == FILES
    assert sorted(rig.ledger.names) == sorted(FILES)


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.fault(1)
async def test_a_crash_at_any_step_loses_no_book(rig: Rig, step: str, *, copied: bool) -> None:
    for name, data in FILES.items():
        path = rig.dropped(f"book/{name}", data)
        if copied:
            os.link(path, rig.root.parent / name.replace("/", "_"))
    (rig.drop / "book/empty").mkdir()
    settings: dict[str, Any] = {"unit": "book", "complete": "rename"}
    await rig.store.open()
    await _until_struck(rig, Crashing(step), **settings)
    await _afterwards(rig, ["book"], clean=True, **settings)
    assert (rig.root / "book/empty").is_dir()


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("step", ["unfinished", "recover", "recovered", "accept", "accepted", "placed"])
async def test_a_crash_while_recovering_from_a_crash_loses_nothing(rig: Rig, step: str, nth: int) -> None:
    for name, data in FILES.items():
        rig.dropped(name, data)
    await rig.store.open()
    await _until_struck(rig, Crashing("half-placed"), complete="rename")
    second = Crashing(step, nth)
    life = asyncio.create_task(_until_crash(rig, second, complete="rename"))
    await rig.until(lambda: second.struck or len(rig.ledger.accepted) == len(FILES))
    life.cancel()
    await asyncio.wait([life])
    rig.ledger.hook = lambda _: None
    await _afterwards(rig, list(FILES), clean=True, complete="rename")


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("where", MOVES)
async def test_a_crash_at_any_rename_or_fsync_loses_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, where: str, nth: int, *, after: bool
) -> None:
    names = [*FILES, "linked"]
    for name, data in FILES.items():
        rig.dropped(name, data)
    os.link(rig.dropped("linked", b"linked"), rig.root.parent / "linked")
    crash = Crashing("here", nth)
    module, _, function = where.rpartition(".")
    real = getattr(__import__(module, fromlist=[function]), function)

    def hooked(*args: object, **kwargs: object) -> object:
        if not after:
            crash("here")
        done = real(*args, **kwargs)
        if after:
            crash("here")
        return done

    await rig.store.open()
    with monkeypatch.context() as patched:
        patched.setattr(where, hooked)
        life = asyncio.create_task(_until_crash(rig, crash, complete="rename"))
        await rig.until(lambda: crash.struck or (len(rig.ledger.accepted) == len(names) and not rig.claimed()))
        life.cancel()
        await asyncio.wait([life])
    await _afterwards(rig, names, clean=True, complete="rename")


async def test_what_a_crash_left_is_accepted_together(rig: Rig) -> None:
    for name, data in FILES.items():
        rig.dropped(name, data)
    await rig.store.open()
    await _until_struck(rig, Crashing("placed"), complete="rename")
    steps: list[str] = []
    rig.ledger.hook = steps.append
    await rig.intake(complete="rename").recover()
    assert steps.count("accept") == 1
    assert sorted(rig.ledger.names) == sorted(FILES)


async def test_a_crash_while_refusing_loses_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    for nth, (where, after) in enumerate([("move", False), ("move", True), ("write_file", True)]):
        rig.dropped(f"bad\n{nth}", b"kept")
        crash = Crashing("here")
        real = getattr(__import__("librarian_daemon.intake.directory.rejection", fromlist=[where]), where)

        def hooked(
            *args: object, real: object = real, crash: Crashing = crash, after: bool = after, **kwargs: object
        ) -> None:
            assert callable(real)
            if not after:
                crash("here")
            real(*args, **kwargs)
            if after:
                crash("here")

        await rig.store.open()
        with monkeypatch.context() as patched:
            patched.setattr(f"librarian_daemon.intake.directory.rejection.{where}", hooked)
            await _until_struck(rig, crash, complete="rename")
    async with rig.running(complete="rename"):
        await rig.until(lambda: len(rig.rejected()) == 3)
        await rig.until(lambda: rig.claimed() == [])
    assert all("control character" in reason for reason in rig.rejected().values())
