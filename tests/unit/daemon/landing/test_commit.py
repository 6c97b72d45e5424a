"""The commit protocol's order, whoever uses it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from librarian_daemon.landing import commit
from librarian_daemon.landing.commit import Ends, Steps
from librarian_daemon.ports.names_lock import NamesLock
from librarian_daemon.ports.store import Action, Landing, NotPlaced, Placed
from librarian_protocol.digests import Digest
from librarian_protocol.entries import FileIngested, Unit
from librarian_protocol.errors import LibrarianError, NameOccupied, StoreFault
from librarian_protocol.names import Name

DIGEST = Digest.blake3(b"x")


def landing(id_: str) -> Landing:
    name = Name(id_)
    return Landing(
        id=id_,
        store="a" * 32,
        root="/staging",
        rel=id_,
        name=name,
        digest=DIGEST,
        size_bytes=1,
        unit=Unit.FILE,
        entry=FileIngested(name=name, digest=DIGEST, size_bytes=1, unit=Unit.FILE, store="a" * 32, mtime_ns=0),
    )


def _same(landing: Landing) -> Landing:
    return landing


class Told:
    """A store and its user in one: what was asked of both, in order."""

    def __init__(self, **failing: LibrarianError) -> None:
        """``failing``: by landing and step, as ``seal_a``."""
        self.failing = failing
        self.calls: list[tuple[str, list[str]]] = []
        self.names = NamesLock()

    def _noted(self, step: str, landings: Sequence[Any]) -> None:
        self.calls.append((step, [getattr(landing, "landing", landing).id for landing in landings]))

    def _outcomes(self, step: str, landings: Sequence[Landing], made: Callable[[Landing], Any]) -> list[Any]:
        self._noted(step, landings)
        return [
            NotPlaced(landing, self.failing[f"{step}_{landing.id}"])
            if f"{step}_{landing.id}" in self.failing
            else made(landing)
            for landing in landings
        ]

    async def seal(self, landings: Sequence[Landing]) -> list[Any]:
        return self._outcomes("seal", landings, _same)

    async def place(self, landings: Sequence[Landing]) -> list[Any]:
        return self._outcomes("place", landings, Placed)

    async def recover(self, landing: Landing) -> Any:
        return self._outcomes("recover", [landing], Placed)[0]

    async def begin(self, landings: Sequence[Landing]) -> Sequence[Landing]:
        self._noted("begin", landings)
        if "begin" in self.failing:
            raise self.failing["begin"]
        return [
            msgspec.structs.replace(landing, action=Action.HEAL) for landing in landings if landing.id != "unwanted"
        ]

    async def accept(self, placed: Sequence[Landing]) -> None:
        assert all(landing.action is Action.HEAL for landing in placed) or self.calls[-1][0] == "recover"
        self._noted("accept", placed)

    async def not_sealed(self, failed: Sequence[NotPlaced]) -> None:
        self._noted("not sealed", failed)

    async def not_placed(self, failed: Sequence[NotPlaced]) -> None:
        self._noted("not placed", failed)

    async def land(self, *ids: str) -> None:
        store: Any = self
        steps = Steps(not_sealed=self.not_sealed, begin=self.begin, accept=self.accept, not_placed=self.not_placed)
        await commit.land(store, [landing(id_) for id_ in ids], steps)


async def test_rows_stand_before_bytes_move_and_nothing_is_said_before_they_have_moved() -> None:
    """Each thing has one end, and what is placed is what ``begin`` returned, as it returned it."""
    told = Told(seal_a=StoreFault("fsync failed"), place_c=NameOccupied("other bytes stand there"))
    await told.land("a", "b", "c", "unwanted")
    assert told.calls == [
        ("seal", ["a", "b", "c", "unwanted"]),
        ("not sealed", ["a"]),
        ("begin", ["b", "c", "unwanted"]),
        ("place", ["b", "c"]),
        ("accept", ["b"]),
        ("not placed", ["c"]),
    ]


async def test_without_rows_nothing_is_moved() -> None:
    told = Told(begin=StoreFault("the catalog does not answer"))
    with pytest.raises(StoreFault):
        await told.land("a")
    assert [step for step, _ in told.calls] == ["seal", "not sealed", "begin"]


async def test_where_nothing_is_to_be_placed_the_store_is_not_asked() -> None:
    told = Told()
    await told.land("unwanted")
    assert [step for step, _ in told.calls] == ["seal", "not sealed", "begin"]


async def test_what_was_begun_is_recovered_one_by_one() -> None:
    told = Told(recover_a=StoreFault("gone"))
    store: Any = told
    await commit.recover(store, [landing("a"), landing("b")], Ends(accept=told.accept, not_placed=told.not_placed))
    assert told.calls == [
        ("recover", ["a"]),
        ("not placed", ["a"]),
        ("recover", ["b"]),
        ("accept", ["b"]),
    ]
