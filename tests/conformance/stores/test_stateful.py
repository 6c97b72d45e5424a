"""A store against a small model, whatever is done to it in whatever order: a dictionary that is never overwritten."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from tests.support.store_kinds import KINDS, Kind
from tests.support.stores import staged

from librarian_daemon.ports.store import Landing, NotPlaced, Placed
from librarian_daemon.ports.store_capabilities import keeping_of
from librarian_protocol.entries import Unit
from librarian_protocol.errors import ChecksumMismatch, NameOccupied, SizeMismatch, SourceMissing

T = TypeVar("T")
#: One lies below another: they cannot both be.
NAMES = st.sampled_from(["a", "a/b", "c/d", "c/e", "f"])
CONTENTS = st.sampled_from([b"", b"one", b"two", b"x" * 70_000])


class Machine(RuleBasedStateMachine):
    """One store; what was staged, what has a name, what stands aside."""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self.store = kind.store
        self._kind = kind
        self._do(kind.store.open())
        self._keys = itertools.count(1)
        self.staged: dict[str, tuple[Landing, bytes]] = {}
        self.placed: dict[str, tuple[Landing, bytes]] = {}
        self.aside: dict[str, tuple[Landing, bytes]] = {}
        #: They stay when they are empty, in some kinds of stores.
        self._made: set[str] = set()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def teardown(self) -> None:
        self.store.close()
        self._runner.close()

    @property
    def directories(self) -> set[str]:
        return self._made if self._kind.directories_stay else {above for name in self.placed for above in _above(name)}

    def _in_the_way(self, name: str) -> bool:
        return name in self.directories or any(name == file or name.startswith(f"{file}/") for file in self.placed)

    def _named(self, name: str, landing: Landing, content: bytes) -> None:
        self.placed[name] = (landing, content)
        self._made |= _above(name)

    # ---- what happens --------------------------------------------------------------------------------------

    @rule(name=NAMES, content=CONTENTS)
    def something_is_staged(self, name: str, content: bytes) -> None:
        key = f"t{next(self._keys)}"
        self.staged[key] = (self._do(staged(self.store, key, name, content)), content)

    @precondition(lambda self: self.staged)
    @rule(data=st.data(), recovered=st.booleans())
    def something_gets_its_name(self, data: st.DataObject, recovered: bool) -> None:
        """As intake and the replicator do it, or as a start after a crash does."""
        key = data.draw(st.sampled_from(sorted(self.staged)))
        landing, content = self.staged[key]
        name = str(landing.name)
        if recovered:
            outcome: Placed | NotPlaced = self._do(self.store.recover(landing))
        else:
            assert self._do(self.store.seal([landing])) == [landing]
            (outcome,) = self._do(self.store.place([landing]))
        there = self.placed.get(name)
        if there is not None and there[1] == content:
            assert isinstance(outcome, Placed), "the same bytes stand there: that is as good"
            self.staged.pop(key)
            self._do(self.store.discard([key]))
        elif self._in_the_way(name):
            assert isinstance(outcome, NotPlaced)
            assert isinstance(outcome.error, NameOccupied)
        else:
            assert outcome == Placed(landing)
            self._named(name, *self.staged.pop(key))

    @precondition(lambda self: self.staged)
    @rule(data=st.data())
    def something_staged_is_thrown_away(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.staged)))
        landing, content = self.staged.pop(key)
        self._do(self.store.discard([key]))
        outcome = self._do(self.store.recover(landing))
        there = self.placed.get(str(landing.name))
        assert isinstance(outcome, Placed) == (there is not None and there[1] == content)

    @precondition(lambda self: self.placed)
    @rule(data=st.data())
    def something_is_set_aside(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.placed)))
        landing, _ = self.placed[name]
        if landing.digest in self.aside:
            return  # one place for one content: its first owner has it
        self._do(keeping_of(self.store).set_aside(landing.name, landing.digest))
        assert self._do(keeping_of(self.store).is_aside(landing.digest))
        self.aside[landing.digest] = self.placed.pop(name)

    @precondition(lambda self: self.aside)
    @rule(data=st.data())
    def something_gets_its_name_back(self, data: st.DataObject) -> None:
        digest = data.draw(st.sampled_from(sorted(self.aside)))
        landing, _ = self.aside[digest]
        name = str(landing.name)
        if self._in_the_way(name):
            if name in self.placed and self.placed[name][0].digest != digest:
                with pytest.raises(NameOccupied):
                    self._do(keeping_of(self.store).bring_back(landing.name, landing.digest))
            return
        self._do(keeping_of(self.store).bring_back(landing.name, landing.digest))
        self._named(name, *self.aside.pop(digest))

    @precondition(lambda self: self.placed)
    @rule(data=st.data(), content=CONTENTS)
    def something_is_checked(self, data: st.DataObject, content: bytes) -> None:
        name = data.draw(st.sampled_from(sorted(self.placed)))
        landing, there = self.placed[name]
        good = self._do(self.store.check(landing.name, landing.digest, Unit.FILE, len(there)))
        assert good.error is None
        if content != there:
            other = type(landing.digest).blake3(content)
            wrong = self._do(self.store.check(landing.name, other, Unit.FILE, len(content)))
            assert isinstance(wrong.error, ChecksumMismatch | SizeMismatch)

    @rule()
    def it_is_opened_again(self) -> None:
        self._do(self.store.open())

    @rule(name=NAMES, content=CONTENTS)
    def what_is_not_there_is_missing(self, name: str, content: bytes) -> None:
        if name not in self.placed:
            landing = self._do(staged(self.store, "probe", name, content))
            self._do(self.store.discard(["probe"]))
            check = self._do(self.store.check(landing.name, landing.digest, Unit.FILE, len(content)))
            assert isinstance(check.error, SourceMissing)

    # ---- what must be so -----------------------------------------------------------------------------------

    @invariant()
    def what_has_a_name_is_whole_and_nothing_else_has_one(self) -> None:
        assert self._kind.outside.standing() == {name: content for name, (_, content) in self.placed.items()}

    @invariant()
    def what_is_staged_stays_until_it_is_placed_or_thrown_away(self) -> None:
        assert self._do(self.store.staged()) == self.staged.keys()


def _above(name: str) -> set[str]:
    return {name[:at] for at, sign in enumerate(name) if sign == "/"}


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"memory-core-only"}))
def test_whatever_is_done_in_whatever_order_the_store_is_as_its_model(tmp_path: Path, kind: str) -> None:
    numbers = itertools.count()

    def fresh() -> Machine:
        return Machine(KINDS[kind](tmp_path / str(next(numbers))))

    run_state_machine_as_test(
        cast(Any, fresh), settings=settings(max_examples=30, stateful_step_count=30, deadline=None)
    )
