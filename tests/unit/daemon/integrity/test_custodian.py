"""A name that is decided about, or moved, while its bytes are read makes nobody suspect anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from tests.support.memory_store import MemoryStore
from tests.support.memory_volume import Inode, Volume

from librarian_daemon.catalog.integrity import comparison, scrubbing, set_aside
from librarian_daemon.catalog.integrity.instances import Holding
from librarian_daemon.catalog.integrity.set_aside import Place
from librarian_daemon.integrity.custodian import Custodian
from librarian_daemon.integrity.freezing import Freezing
from librarian_daemon.ports.store import Check
from librarian_daemon.runtime.metrics import Metrics
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Unit
from librarian_protocol.names import Name, SiteName

HOLDING = Holding(
    file_id=1,
    name=Name.parse("same.dat"),
    digest=Digest.blake3(b"x"),
    size_bytes=1,
    unit=Unit.FILE,
    store="s",
    state="available",
    doubted=False,
)


class World:
    """A store that finds nothing at the name the first ``misses`` times, and a catalog that says where it stands."""

    def __init__(self, places: Sequence[Place], misses: int) -> None:
        self.places = list(places)
        self.misses = misses
        self.checks = 0
        self.said: list[bool] = []
        self.opened: list[str] = []
        self.suspected = 0
        self.store = MemoryStore(Volume(), id_="s", label="main", at=self._at)

    async def _at(self, step: str, _what: str) -> None:
        assert step == "check"
        self.checks += 1
        if self.checks > self.misses:
            self.store.volume.named[HOLDING.name] = Inode(b"x")

    async def read(self, work: object, *_: object) -> Place | int:
        if work is comparison.suspected:
            return self.suspected
        if work in {scrubbing.is_frozen, scrubbing.alone, scrubbing.frozen}:
            return cast(int, {})
        assert work is set_aside.place
        return self.places.pop(0)

    async def write(self, work: object, *rest: object) -> bool:
        if work is scrubbing.freeze:
            return True
        self.said += [check.error is None for check in rest if isinstance(check, Check)]
        return False

    async def subjects(self, _code: str) -> list[str]:
        return []

    async def open(self, code: str, *_: object) -> None:
        self.opened.append(code)

    async def resolve(self, *_: object) -> None:
        """Nothing was open."""


async def examined(*places: Place, misses: int, suspected: int = 0, insist: bool = False) -> tuple[World, Check | None]:
    world: Any = World(places, misses)
    world.suspected = suspected
    custodian = Custodian(
        world,
        {"s": world.store},
        world,
        cast(Any, None),
        SiteName("summit"),
        Metrics(SiteName("summit")),
        3,
        {},
        Freezing(world, {}, world, SiteName("summit")),
    )
    return world, await custodian.examine(HOLDING, insist=insist)


def here(change: int) -> Place:
    return Place(at_its_name=True, change=change)


def moving(change: int) -> Place:
    return Place(at_its_name=False, change=change)


async def test_what_is_missing_at_its_name_is_suspected() -> None:
    world, check = await examined(here(1), here(1), misses=9)
    assert check is not None
    assert check.error is not None
    assert world.said == [False]
    assert world.opened == ["instance-suspected"]


async def test_where_many_are_suspected_already_no_more_are_without_a_person() -> None:
    world, check = await examined(here(1), here(1), misses=9, suspected=3)
    assert check is not None
    assert (world.said, world.opened) == ([], ["many-anomalies"])
    world, _ = await examined(here(1), here(1), misses=9, suspected=3, insist=True)
    assert (world.said, world.opened) == ([False], ["instance-suspected"])


async def test_what_stands_aside_is_not_looked_for_at_its_name() -> None:
    world, check = await examined(moving(1), misses=9)
    assert check is None
    assert (world.checks, world.said, world.opened) == (0, [], [])


async def test_what_got_its_name_back_meanwhile_is_read_again() -> None:
    world, check = await examined(here(1), here(2), here(2), misses=1)
    assert check is not None
    assert check.error is None
    assert (world.checks, world.said) == (2, [True])


async def test_what_was_set_aside_meanwhile_is_left_alone() -> None:
    world, check = await examined(here(1), moving(2), moving(2), misses=9)
    assert check is None
    assert (world.said, world.opened) == ([], [])
