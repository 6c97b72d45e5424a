"""A batch becomes durable while the one before it is placed; where one fails, none of both is lost or told twice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.support.intake import Rig

from librarian_daemon.ports.store import Landing, NotPlaced
from librarian_protocol.errors import CatalogFault


class Held:
    """A rig of which the landing rows of files with this name are not written before :attr:`go`."""

    def __init__(self, rig: Rig, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.rig = rig
        self.go = asyncio.Event()
        #: Names, as they were sealed; whether the held one stands before its rows.
        self.sealed: list[str] = []
        self.reached = False
        self.error: CatalogFault | None = None
        begin, seal = rig.ledger.begin, rig.store.seal

        async def held(landings: Sequence[Landing]) -> Sequence[Landing]:
            if any(landing.name == name for landing in landings):
                self.reached = True
                await self.go.wait()
                error, self.error = self.error, None
                if error is not None:
                    raise error
            return await begin(landings)

        async def sealing(landings: Sequence[Landing]) -> Sequence[Landing | NotPlaced]:
            self.sealed.extend(landing.name for landing in landings)
            return await seal(landings)

        monkeypatch.setattr(rig.ledger, "begin", held)
        monkeypatch.setattr(rig.store, "seal", sealing)

    def moved_in(self, rel: str, data: bytes = b"data") -> None:
        made = self.rig.drop.parent / "made"
        made.write_bytes(data)
        path = self.rig.drop / rel
        path.parent.mkdir(parents=True, exist_ok=True)
        made.rename(path)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


async def test_a_batch_becomes_durable_while_the_one_before_it_is_placed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(rig, monkeypatch, "first")
    async with rig.running():
        held.moved_in("first")
        await rig.until(lambda: held.reached)
        held.moved_in("second")
        await rig.until(lambda: held.sealed == ["first", "second"])
        assert rig.ledger.names == []
        held.go.set()
        await rig.accepted("first", "second")
        await rig.until(lambda: rig.claimed() == [])
    assert rig.ledger.names == ["first", "second"]


@pytest.mark.parametrize(("name", "other"), [("first", "first"), ("first", "FIRST"), ("first", "first/below")])
async def test_what_a_name_means_is_asked_when_the_batch_that_decides_it_is_placed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, name: str, other: str
) -> None:
    held = Held(rig, monkeypatch, name)

    def claimed() -> int:
        return sum(path.is_file() for path in rig.claimed())

    async with rig.running():
        held.moved_in(name, b"these")
        await rig.until(lambda: held.reached)
        held.moved_in(other, b"others")
        await rig.until(lambda: claimed() == 2)
        held.moved_in("unlike")
        await rig.until(lambda: claimed() == 3)
        assert held.sealed == [name]
        held.go.set()
        await rig.accepted(name, "unlike")
        await rig.until(lambda: rig.claimed() == [])
    if other == "first/below":  # the ledger of the test knows nothing of what lies below; the store does
        assert list(rig.rejected()) == [other]
    else:
        assert held.sealed == [name, "unlike"]
        assert list(rig.rejected()) == [other]


async def test_where_a_batch_fails_while_the_next_one_becomes_durable_both_are_taken_up_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(rig, monkeypatch, "first")
    held.error = CatalogFault("no catalog just now")
    async with rig.running():
        held.moved_in("first")
        await rig.until(lambda: held.reached)
        held.moved_in("second")
        await rig.until(lambda: held.sealed == ["first", "second"])
        held.go.set()
        await rig.accepted("first", "second")
        await rig.until(lambda: rig.claimed() == [] and rig.incidents.now == {})
    assert [code for code, _ in rig.incidents.ever] == ["catalog-fault"]
