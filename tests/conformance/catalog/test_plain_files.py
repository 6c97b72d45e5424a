"""Planning by sets leaves out what needs no look: the plan is the same as with a look at everything of every file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from tests.conformance.catalog.peers import (
    Peer,
    doubted,
    facts,
    healed,
    ingested,
    registered,
    removed,
    store_declared,
    store_of,
    suspected,
    withdrawn,
)
from tests.conformance.catalog.running import NOW_S, SITE, admit, receive, say

from librarian_daemon.catalog import schema, statements
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.sets import SetStatement
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.transfers import planning, transfers, transitions
from librarian_daemon.catalog.transfers.planning import FileState, Page
from librarian_daemon.catalog.transfers.transfers import NewTransfer
from librarian_daemon.catalog.transfers.transitions import Transition
from librarian_daemon.transfers.planner import Plan, decide
from librarian_protocol import globs
from librarian_protocol.entries import AdapterOffer, Dial, Entry, SiteAnnounced
from librarian_protocol.names import SiteName
from librarian_protocol.transfer import Cancel, Event, Fail, Land, Reason, Reserve, Start, Store
from librarian_protocol.wanted import InstanceState, SubscriptionFacts

OWN = Peer(SITE)
SECOND = store_of(SITE, 1)
HTTP = AdapterOffer(name="http", version=1, address="http://data.example", dial=Dial.DESTINATION)
SUMMIT = SiteName.parse("summit")
FILES = [("raw/a", "1"), ("raw/a", "2"), ("raw/b", ""), ("cooked/c", "")]
#: How far a transfer goes.
WAYS: list[tuple[Event, ...]] = [
    (),
    (Reserve(SUMMIT), Start()),
    (Reserve(SUMMIT), Start(), Land(), Store()),
    (Fail(Reason.NAME_OCCUPIED),),
    (Cancel(),),
]


def _size_of(file: tuple[str, str]) -> int:
    return 99 if file[1] else 11


SAID: dict[str, Callable[[str, tuple[str, str]], Entry]] = {
    "ingested": lambda store, file: ingested(store, *file, mtime_ns=1, size_bytes=_size_of(file)),
    "registered": lambda store, file: registered(store, *file, size_bytes=_size_of(file)),
    "suspected": lambda store, file: suspected(store, *file),
    "healed": lambda store, file: healed(store, *file),
    "removed": lambda store, file: removed(store, *file),
    "withdrawn": lambda store, file: withdrawn(*file),
}
FILE = st.sampled_from(FILES)
HAPPENING = st.one_of(
    st.tuples(st.just("peer"), st.sampled_from(["ingested", "registered", "suspected", "removed", "withdrawn"]), FILE),
    st.tuples(st.just("own"), st.sampled_from(["ingested", "registered", "suspected", "healed", "removed"]), FILE),
    st.tuples(st.just("beside"), st.sampled_from(["registered", "removed"]), FILE),
    st.tuples(st.just("doubted"), st.just(""), FILE),
    st.tuples(st.just("asked for"), st.just(""), FILE),
    st.tuples(st.just("transfer"), st.integers(0, len(WAYS) - 1), FILE),
)
SUBSCRIPTIONS = st.lists(
    st.builds(
        SubscriptionFacts,
        id=st.sampled_from(["s1", "s2"]),
        max_bytes=st.sampled_from([None, 10, 11, 98, 99]),
        priority=st.sampled_from([0, 5, 9]),
        from_site=st.sampled_from([None, SUMMIT, SiteName.parse("dome")]),
        match=st.sampled_from(["**", "raw/*", "cooked/**"]),
        into=st.sampled_from([[OWN.store], [SECOND], [OWN.store, SECOND], [SECOND, OWN.store]]),
        after_file=st.sampled_from([0, 2]),
    ),
    max_size=2,
    unique_by=lambda subscription: subscription.id,
)


@pytest.fixture
async def summit(catalog: Catalog) -> Peer:
    """A peer from which files can be had, and two stores here."""
    peer = Peer("summit")
    await admit(catalog, peer, may_admit=True)
    await receive(catalog, *peer.say(SiteAnnounced(software="x", adapters=[HTTP])))
    await say(catalog, store_declared(OWN.store), store_declared(SECOND))
    return peer


async def _happen(catalog: Catalog, peer: Peer, what: str, how: Any, file: tuple[str, str]) -> None:
    if what == "peer":
        await receive(catalog, *peer.say(SAID[how](peer.store, file)))
    elif what in {"own", "beside"}:
        await say(catalog, SAID[how](OWN.store if what == "own" else SECOND, file))
    elif what == "doubted":
        await say(catalog, doubted(peer, peer.position.seq, *file))
    else:
        found = await catalog.read(planning.named, facts(*file)["name"])
        for state in found:
            if what == "asked for":
                await catalog.write(planning.add_one_off, state.file_id, SECOND, None)
                continue
            await catalog.write(
                transfers.create, [NewTransfer(file_id=state.file_id, store=OWN.store, subscription="")]
            )
            for view in await catalog.read(transfers.of_file, state.file_id):
                for event in WAYS[int(how)]:
                    await catalog.write(transitions.apply_transitions, [Transition(view=view, event=event)], NOW_S)


class _Everything:
    """In place of the statement that says what is not plain: nothing is."""

    def __init__(self, look: SetStatement) -> None:
        self._look = look

    def rows(self, *given: Any, **values: Any) -> list[tuple[Any, ...]]:
        return [(*row[:4], True, *row[5:]) for row in self._look.rows(*given, **values)]


def _summary(plan: Plan) -> tuple[list[Any], ...]:
    return (
        sorted((wish.file_id, wish.store, wish.subscription, wish.change, wish.priority) for wish in plan.wishes),
        plan.takeovers,
        [(move.view.id, type(move.event), move.message) for move in plan.moves],
    )


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(happened=st.lists(HAPPENING, min_size=1, max_size=8), mine=SUBSCRIPTIONS)
async def test_what_is_left_out_would_have_changed_nothing(
    catalog: Catalog, summit: Peer, happened: list[tuple[str, Any, tuple[str, str]]], mine: list[SubscriptionFacts]
) -> None:
    """Each example goes on with what those before it have left."""
    for what, how, file in happened:
        await _happen(catalog, summit, what, how, file)

    def looks(tx: Tx) -> list[Page]:
        planning.planned_until(tx, 0, 0)
        matches = [subscription.match for subscription in mine]
        stores = planning.settling(mine)
        by_sets = planning.changed_files(tx.connection, 1000, matches, stores)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(statements, "LOOK_AT_CHANGED", _Everything(statements.LOOK_AT_CHANGED))
            return [by_sets, planning.changed_files(tx.connection, 1000, matches)]

    by_sets, whole = await catalog.write(looks)
    _, here = await catalog.read(planning.load_here, SITE, ["http"])
    assert not whole.plain
    assert _summary(decide(by_sets, mine, here)) == _summary(decide(whole, mine, here))
    known = {state.file_id: state for state in whole.known}
    assert all(state == known[state.file_id] for state in by_sets.known)
    assert by_sets.last == whole.last


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(happened=st.lists(HAPPENING, min_size=1, max_size=8), mine=SUBSCRIPTIONS, limit=st.integers(1, 5))
async def test_a_page_has_what_a_look_at_every_file_finds(
    catalog: Catalog,
    summit: Peer,
    happened: list[tuple[str, Any, tuple[str, str]]],
    mine: list[SubscriptionFacts],
    limit: int,
) -> None:
    """Page by page, with and without subscriptions, over changes and over rows."""
    for what, how, file in happened:
        await _happen(catalog, summit, what, how, file)
    matches, stores = [subscription.match for subscription in mine], planning.settling(mine)

    def looks(tx: Tx) -> tuple[list[FileState], Page, Page]:
        changed, after = schema.file.c.change, schema.file.c.id
        every = planning.know(tx.connection, tx.connection.execute(select(schema.file).order_by(changed, after)).all())
        by_changes = _nothing()
        planning.planned_until(tx, 0, 0)
        while (page := planning.changed_files(tx.connection, limit, matches, stores)).last is not None:
            assert page.full or page.last == (every[-1].change, every[-1].file_id)
            by_changes = _together(by_changes, page)
            planning.planned_until(tx, *page.last)
        by_rows = _nothing()
        at = 0
        while (page := planning.files_after(tx.connection, at, limit, matches, stores)).last is not None:
            by_rows = _together(by_rows, page)
            at = page.last[1]
        return every, by_changes, by_rows

    every, by_changes, by_rows = await catalog.write(looks)
    _, here = await catalog.read(planning.load_here, SITE, ["http"])
    wanted = [state for state in every if _is_needed(state, matches)]
    needed = Page(plain=[], known=wanted, last=None, full=False)
    assert _summary(decide(by_changes, mine, here)) == _summary(decide(needed, mine, here))
    wanted.sort(key=lambda state: state.file_id)
    assert _summary(decide(by_rows, mine, here)) == _summary(decide(needed, mine, here))


def _nothing() -> Page:
    return Page(plain=[], known=[], last=None, full=False)


def _together(first: Page, other: Page) -> Page:
    return Page(plain=first.plain + other.plain, known=first.known + other.known, last=None, full=False)


def _is_needed(state: FileState, matches: Sequence[str]) -> bool:
    return (
        any(globs.matches(match, state.file.name) for match in matches)
        or bool(state.transfers)
        or any(held.site == SITE and held.state is InstanceState.SUSPECTED for held in state.instances)
    )
