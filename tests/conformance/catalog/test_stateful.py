"""A catalog against a small model, whatever is done to it in whatever order, on both databases.

The model knows what was said, what arrived, and what follows: entries are applied without gaps, registers keep the last
word of their owner, the outbox holds what the bus has not acknowledged, and a restart changes none of it.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from random import Random
from typing import Any, TypeVar, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import Connection, select
from tests.conformance.catalog.peers import Peer, Sealed, healed, ingested, removed, suspected
from tests.conformance.catalog.running import SITE, admit, begun, receive, running, say

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.database import open_database
from librarian_daemon.catalog.journal import segments
from librarian_daemon.catalog.transaction import Tx
from librarian_protocol.entries import FileEntry
from librarian_protocol.errors import InputError
from librarian_protocol.segments import decode

T = TypeVar("T")
NAMES = st.sampled_from(["obs/a", "obs/b"])
CONTENTS = st.sampled_from(["1", "2"])
OWNERS = ("summit", "campus")
#: What a peer says of an instance, and the state that it has then.
WORDS: dict[str, tuple[Callable[..., FileEntry], str]] = {
    "ingested": (ingested, "available"),
    "suspected": (suspected, "suspected"),
    "healed": (healed, "available"),
    "removed": (removed, "removed"),
}
File = tuple[str, str]


class Refused(InputError):
    """A unit of work that thinks better of it."""


class Machine(RuleBasedStateMachine):
    """One catalog, the site's own words, and two peers whose segments come as they please."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._database = open_database(url)
        self._numbers = itertools.count(1)
        self._open()
        self.peers = {name: Peer(name) for name in OWNERS}
        self._do(admit(self.catalog, *self.peers.values()))
        self._own = Peer(SITE)
        #: What each peer has said: the segment, and what it means.
        self.said: dict[str, list[tuple[Sealed, str, File]]] = {name: [] for name in OWNERS}
        self.arrived: dict[str, set[int]] = {name: set() for name in OWNERS}
        self.files: dict[str, set[File]] = {name: set() for name in OWNERS}
        self.own: dict[File, str] = {}
        self.entries = len(OWNERS)
        self.outbox = self._read(segments.outgoing, 10_000)

    # ---- running it ----------------------------------------------------------------------------------------

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def _read(self, work: Callable[..., T], *arguments: Any) -> T:
        return self._do(self.catalog.read(work, *arguments))

    def _open(self) -> None:
        incarnation = f"{next(self._numbers):016x}"
        self.catalog: Catalog = self._do(begun(self._database, SITE, incarnation=incarnation))
        self._running: AbstractAsyncContextManager[None] = running(self.catalog)
        self._do(self._running.__aenter__())

    def _close(self) -> None:
        self._do(self._running.__aexit__(None, None, None))

    def teardown(self) -> None:
        self._close()
        self._do(self._database.close())
        self._runner.close()

    # ---- what happens --------------------------------------------------------------------------------------

    @rule(name=NAMES, content=CONTENTS)
    def we_ingest(self, name: str, content: str) -> None:
        self._do(say(self.catalog, ingested(self._own.store, name, content)))
        self.own[name, content] = "available"
        self.entries += 1
        self._spoken()

    @rule(name=NAMES, content=CONTENTS)
    def a_unit_is_refused(self, name: str, content: str) -> None:
        def work(tx: Tx) -> None:
            tx.append(ingested(self._own.store, name, content))
            raise Refused("not after all")

        with pytest.raises(Refused):
            self._do(self.catalog.write(work))

    @rule(owner=st.sampled_from(OWNERS), name=NAMES, content=CONTENTS, word=st.sampled_from(sorted(WORDS)))
    def a_peer_says(self, owner: str, name: str, content: str, word: str) -> None:
        """Of what it never had it says only that it has it now."""
        file = (name, content)
        word = word if file in self.files[owner] else "ingested"
        self.files[owner].add(file)
        peer = self.peers[owner]
        (sealed,) = peer.say(WORDS[word][0](peer.store, name, content))
        self.said[owner].append((sealed, WORDS[word][1], file))

    @rule(owner=st.sampled_from(OWNERS))
    def a_peer_restarts(self, owner: str) -> None:
        self.peers[owner].restart()

    @precondition(lambda self: any(self.said.values()))
    @rule(data=st.data())
    def something_arrives(self, data: st.DataObject) -> None:
        """Any segment that was ever said, also once more."""
        owner = data.draw(st.sampled_from([name for name in OWNERS if self.said[name]]))
        number = data.draw(st.integers(0, len(self.said[owner]) - 1))
        self._do(receive(self.catalog, self.said[owner][number][0]))
        self.arrived[owner].add(number)

    @rule(owner=st.sampled_from(OWNERS), chance=st.randoms(use_true_random=False))
    def all_of_it_arrives(self, owner: str, chance: Random) -> None:
        """In any order."""
        numbers = list(range(len(self.said[owner])))
        chance.shuffle(numbers)
        self._do(receive(self.catalog, *(self.said[owner][number][0] for number in numbers)))
        self.arrived[owner] |= set(numbers)

    @rule(limit=st.integers(1, 3))
    def the_bus_acknowledges(self, limit: int) -> None:
        page = self._read(segments.outgoing, limit)
        self._do(self.catalog.write(segments.acknowledged, [segment.position for segment in page]))
        self.outbox = self.outbox[len(page) :]

    @rule()
    def the_bus_forgets(self) -> None:
        self._do(self.catalog.write(segments.requeue_all, SITE))
        self.outbox = self._read(segments.outgoing, 10_000)
        assert sum(_entries(segment.payload) for segment in self.outbox) == self.entries, "all of it goes out again"

    @rule()
    def we_restart(self) -> None:
        self._close()
        self._open()

    def _spoken(self) -> None:
        """What was said last waits at the end of the outbox."""
        now = self._read(segments.outgoing, 10_000)
        assert [segment.hash for segment in now[:-1]] == [segment.hash for segment in self.outbox]
        self.outbox = now

    # ---- what must be so -----------------------------------------------------------------------------------

    def _applied(self, owner: str) -> list[tuple[str, File]]:
        """What follows without a gap."""
        found: list[tuple[str, File]] = []
        for number, (_, state, file) in enumerate(self.said[owner]):
            if number not in self.arrived[owner]:
                break
            found.append((state, file))
        return found

    @invariant()
    def instances_are_what_their_owners_said_last(self) -> None:
        wanted: dict[tuple[str, str, str], str] = {(SITE, *file): state for file, state in self.own.items()}
        for owner in OWNERS:
            wanted |= {(owner, *file): state for state, file in self._applied(owner)}
        assert self._read(instances) == wanted

    @invariant()
    def a_name_with_two_digests_is_a_conflict(self) -> None:
        known = {file for owner in OWNERS for _, file in self._applied(owner)} | self.own.keys()
        names = [name for name, _ in known]
        assert self._read(conflicts) == {name for name in names if names.count(name) > 1}

    @invariant()
    def the_outbox_holds_what_is_not_acknowledged(self) -> None:
        assert [segment.hash for segment in self._read(segments.outgoing, 10_000)] == [
            segment.hash for segment in self.outbox
        ]

    @invariant()
    def our_own_numbers_have_no_holes(self) -> None:
        assert self.catalog.position.seq == self.entries


def _entries(payload: bytes) -> int:
    return len(decode(payload).entries)


def instances(connection: Connection) -> dict[tuple[str, str, str], str]:
    """State by site, name and content."""
    file, instance = schema.file.c, schema.instance.c
    rows = connection.execute(
        select(instance.site, file.name, file.digest, instance.state).join(schema.file, instance.file_id == file.id)
    )
    contents = {ingested("0" * 32, "any", content).digest: content for content in ("1", "2")}
    return {(row.site, row.name, contents[row.digest]): row.state for row in rows}


def conflicts(connection: Connection) -> set[str]:
    """Names in conflict."""
    return set(connection.scalars(select(schema.conflict.c.name)))


def test_whatever_is_done_in_whatever_order_the_catalog_is_as_its_model(
    backend: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    numbers = itertools.count()
    if backend == "sqlite":
        model: Path = request.getfixturevalue("sqlite_model")

        def fresh() -> Machine:
            path = tmp_path / f"stateful{next(numbers)}.sqlite"
            shutil.copyfile(model, path)
            return Machine(f"sqlite:///{path}")
    else:
        url: str = request.getfixturevalue("new_url")(backend)
        server = request.getfixturevalue("postgres")

        def fresh() -> Machine:
            server.empty(url, schema.metadata.tables)
            return Machine(url)

    run_state_machine_as_test(
        cast(Any, fresh), settings=settings(max_examples=25, stateful_step_count=30, deadline=None)
    )
