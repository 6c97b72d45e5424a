"""Planning: every change is looked at, a new subscription is tried on all that was there, and what follows."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conformance.catalog.peers import (
    Peer,
    admission,
    doubted,
    healed,
    ingested,
    registered,
    removed,
    store_declared,
    suspected,
    withdrawn,
)
from tests.conformance.catalog.running import NOW_S, SITE, admit, count, looked_at, receive, rows, say, tried

from librarian_daemon.catalog import backfills, schema
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.database import Database
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.transfers import batch_rows, order, planning, transfers, transitions
from librarian_daemon.catalog.transfers.planning import Page
from librarian_daemon.catalog.transfers.transfers import NewTransfer
from librarian_daemon.catalog.transfers.transitions import Transition
from librarian_daemon.runtime.clock import SystemClock
from librarian_daemon.runtime.signals import Signal
from librarian_daemon.transfers import planner
from librarian_daemon.transfers.planner import Plan, Planner, decide
from librarian_protocol.entries import (
    AdapterOffer,
    Dial,
    Entry,
    SiteAnnounced,
    StoreRetired,
    SubscriptionDeclared,
    SubscriptionWithdrawn,
)
from librarian_protocol.errors import CatalogFault
from librarian_protocol.names import Name, SiteName
from librarian_protocol.transfer import Answered, Cancel, Event, Fail, Land, Reason, Reserve, Start, State, Store, Want
from librarian_protocol.wanted import UnwantedReason

OWN = Peer(SITE)
SUBSCRIPTION = "0123456789abcdef"
HTTP = AdapterOffer(name="http", version=1, address="http://data.example", dial=Dial.DESTINATION)
SUMMIT = SiteName.parse("summit")


def _subscription(match: str = "**", subscription: str = SUBSCRIPTION) -> SubscriptionDeclared:
    return SubscriptionDeclared(subscription=subscription, from_site=None, match=match, into=[OWN.store])


@pytest.fixture
async def summit(catalog: Catalog) -> Peer:
    """A peer from which files can be had, and a store here that wants them."""
    peer = Peer("summit")
    await admit(catalog, peer, may_admit=True)
    await receive(catalog, *peer.say(SiteAnnounced(software="x", adapters=[HTTP])))
    await say(catalog, store_declared(OWN.store))
    return peer


async def _decide(catalog: Catalog, page: Page) -> Plan:
    return decide(page, *await catalog.read(planning.load_here, SITE, ["http"]))


async def _plan(catalog: Catalog) -> list[tuple[str, str]]:
    """Plan all that changed, as the service does; what it did to which name."""
    done: list[tuple[str, str]] = []
    while (page := await catalog.read(planning.changed_files, 3, ["**"])).last is not None:
        plan = await _decide(catalog, page)
        names = {file_id: name for file_id, (name, _) in looked_at(page).items()}

        def work(tx: Tx, plan: Plan = plan, last: tuple[int, int] = page.last) -> None:
            transfers.create(tx, plan.wishes)
            transitions.apply_transitions(tx, plan.moves, NOW_S)
            order.take_over(tx, plan.takeovers)
            planning.planned_until(tx, *last)

        await catalog.write(work)
        done += [("new", names[new.file_id]) for new in plan.wishes]
        done += [(type(transition.event).__name__, str(transition.view.name)) for transition in plan.moves]
    return done


async def _state(catalog: Catalog) -> list[str]:
    return [row.state for row in await catalog.read(rows, schema.transfer)]


async def _move(catalog: Catalog, *events: Event) -> None:
    """Step the only transfer."""
    (owed,) = await catalog.read(transfers.page_of, state=None, before=None, limit=2)
    for event in events:
        await catalog.write(transitions.apply_transitions, [Transition(view=owed, event=event)], NOW_S)


# ---- the cursor --------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    groups=st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=5), min_size=1, max_size=8),
    reads=st.lists(st.integers(0, 3), min_size=8, max_size=8),
    limit=st.integers(1, 4),
)
async def test_the_cursor_over_changes_skips_nothing_and_repeats_nothing(
    catalog: Catalog, groups: list[list[int]], reads: list[int], limit: int
) -> None:
    """Whatever changes between its pages: a file is seen after its last change, and once for what it saw."""

    def work(tx: Tx) -> None:
        seen: list[tuple[str, int]] = []

        def page() -> bool:
            found = planning.changed_files(tx.connection, limit, ["**"])
            seen.extend(looked_at(found).values())
            if found.last is not None:
                planning.planned_until(tx, *found.last)
            return found.last is not None

        for group, times in zip(groups, reads, strict=False):
            tx.append(*(ingested(OWN.store, f"raw/{number}") for number in group))
            for _ in range(times):
                page()
        while page():
            pass
        assert len(set(seen)) == len(seen)
        last = {row.name: row.change for row in tx.connection.execute(schema.file.select())}
        assert dict(seen) == last

    await tried(catalog, work)


# ---- subscriptions -----------------------------------------------------------------------------------------


async def test_a_new_subscription_is_tried_on_everything_that_was_known_before(
    catalog: Catalog, summit: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Page by page, behind a cursor of its own that a restart finds again; then it is done."""
    monkeypatch.setattr(planner, "BACKFILL_PAGE", 4)
    await receive(catalog, *summit.say(*(ingested(summit.store, f"raw/{n}") for n in range(10))))
    assert await _plan(catalog) == []
    await say(catalog, _subscription("raw/[0-8]"))
    await catalog.write(backfills.start, SUBSCRIPTION)
    positions: list[int] = []
    while waiting := await catalog.read(planning.backfills):
        positions.append(waiting[0][1])
        service = Planner(catalog, SystemClock(), SITE, ["http"], Signal())
        await _backfill(service, catalog)
    assert positions == sorted(set(positions))
    assert len(positions) == 4
    names = [view.name for view in await catalog.read(order.wanted_now, 100)]
    assert names == [f"raw/{n}" for n in range(9)]


async def _backfill(service: Planner, catalog: Catalog) -> None:
    look = await catalog.read(planning.look, SITE, ["http"])
    await service._backfill(look)  # pyright: ignore[reportPrivateUsage]


async def test_a_backfill_of_a_subscription_that_was_withdrawn_ends(catalog: Catalog, summit: Peer) -> None:
    await receive(catalog, *summit.say(ingested(summit.store)))
    await say(catalog, _subscription(), SubscriptionWithdrawn(subscription=SUBSCRIPTION))
    await catalog.write(backfills.start, SUBSCRIPTION)
    await _backfill(Planner(catalog, SystemClock(), SITE, ["http"], Signal()), catalog)
    assert await catalog.read(planning.backfills) == []
    assert await _state(catalog) == []


async def test_subscriptions_are_this_sites_own_in_the_order_in_which_they_were_made(
    catalog: Catalog, summit: Peer
) -> None:
    await receive(catalog, *summit.say(_subscription("theirs/**", "f" * 16)))
    await say(catalog, _subscription("b/**", "b" * 16), _subscription("a/**", "a" * 16))
    found = await catalog.read(planning.subscriptions, SITE)
    assert [subscription.match for subscription in found] == ["b/**", "a/**"]
    assert found[0].into == [OWN.store]


# ---- in the commit that tells of them ----------------------------------------------------------------------


class _Refusing:
    """Planning that fails."""

    def plan(self, tx: Tx) -> None:
        raise CatalogFault("not now")

    def planned(self, outcome: object) -> bool:
        raise AssertionError("nothing was planned")


async def _planned_at_once(catalog: Catalog, summit: Peer, *names: str) -> list[str]:
    """What is wanted behind the commit that brings these; nobody runs the planner."""
    await say(catalog, _subscription())
    await catalog.changed.wait(0.0)
    await receive(catalog, *summit.say(*(ingested(summit.store, name) for name in names)))
    return [view.name for view in await catalog.read(order.wanted_now, 100)]


async def test_files_that_land_are_planned_in_the_commit_that_tells_of_them(catalog: Catalog, summit: Peer) -> None:
    transfers_changed = Signal()
    catalog.plan_with(Planner(catalog, SystemClock(), SITE, ["http"], transfers_changed))
    assert await _planned_at_once(catalog, summit, "a", "b") == ["a", "b"]
    assert await transfers_changed.wait(0.0)
    assert not await catalog.changed.wait(0.0)
    assert await _plan(catalog) == []


async def test_what_is_more_than_a_page_is_left_to_the_planner(
    catalog: Catalog, summit: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "PAGE", 2)
    catalog.plan_with(Planner(catalog, SystemClock(), SITE, ["http"], Signal()))
    await _plan(catalog)  # what the fixture said
    assert await _planned_at_once(catalog, summit, "a", "b", "c") == ["a", "b"]
    assert await catalog.changed.wait(0.0)
    assert await _plan(catalog) == [("new", "c")]


async def test_a_commit_does_not_fail_with_its_planning(catalog: Catalog, summit: Peer) -> None:
    catalog.plan_with(_Refusing())
    assert await _planned_at_once(catalog, summit, "a") == []
    assert await catalog.changed.wait(0.0)
    assert await _plan(catalog) == [("new", "a")]


async def test_what_is_planned_in_a_commit_that_fails_is_not_told(
    catalog: Catalog, summit: Peer, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    transfers_changed = Signal()
    catalog.plan_with(Planner(catalog, SystemClock(), SITE, ["http"], transfers_changed))
    await say(catalog, _subscription())

    async def full(work: object) -> None:
        raise CatalogFault("no room")

    with monkeypatch.context() as patched:
        patched.setattr(database, "write", full)
        with pytest.raises(CatalogFault):
            await receive(catalog, *summit.say(ingested(summit.store)))
    assert not await transfers_changed.wait(0.0)


@pytest.mark.parametrize(
    ("before", "looked"),
    [
        ("nothing", False),
        ("subscription", True),
        ("withdrawn subscription", False),
        ("own instance suspected", True),
        ("transfer", True),
    ],
)
async def test_an_instance_elsewhere_is_planned_only_where_something_can_follow(
    catalog: Catalog, summit: Peer, before: str, looked: bool
) -> None:
    await say(catalog, ingested(OWN.store))
    (file,) = await catalog.read(rows, schema.file)
    match before:
        case "subscription":
            await say(catalog, _subscription())
        case "withdrawn subscription":
            await say(catalog, _subscription(), SubscriptionWithdrawn(subscription=SUBSCRIPTION))
        case "own instance suspected":
            await say(catalog, suspected(OWN.store))
        case "transfer":
            wish = NewTransfer(file_id=file.id, store="f" * 32, subscription=SUBSCRIPTION)
            await catalog.write(transfers.create, [wish])
        case _:
            pass
    (unchanged,) = await catalog.read(rows, schema.file)
    await receive(catalog, *summit.say(registered(summit.store)))
    (now,) = await catalog.read(rows, schema.file)
    assert (now.change > unchanged.change) is looked
    assert await catalog.read(count, schema.instance, schema.instance.c.site == "summit") == 1


async def test_all_sites_keep_the_same_of_two_sizes(catalog: Catalog, summit: Peer) -> None:
    """Also where nothing is planned."""
    await say(catalog, ingested(OWN.store))
    for size_bytes, kept in ((12, 11), (10, 10), (11, 10)):
        entry = msgspec.structs.replace(registered(summit.store), size_bytes=size_bytes)
        await receive(catalog, *summit.say(entry))
        (file,) = await catalog.read(rows, schema.file)
        assert file.size_bytes == kept


# ---- what follows ------------------------------------------------------------------------------------------


async def test_a_wanted_file_becomes_one_transfer(catalog: Catalog, summit: Peer) -> None:
    """However many subscriptions want it into one store, and however often it is looked at."""
    await say(catalog, _subscription("raw/**"), _subscription("**", "f" * 16))
    await receive(catalog, *summit.say(ingested(summit.store)))
    assert await _plan(catalog) == [("new", "raw/2026/first light.fits")]
    await receive(catalog, *summit.say(healed(summit.store)))
    assert await _plan(catalog) == []
    assert await _state(catalog) == ["wanted"]


async def _queued(catalog: Catalog) -> list[tuple[str, str, int]]:
    """Names, subscriptions and priorities, in the order in which they are fetched."""
    found = await catalog.read(order.wanted_now, 100)
    return [(str(view.name), view.row.subscription[0], view.row.priority) for view in found]


def _limited(match: str, subscription: str, *, priority: int = 5, max_bytes: int | None = None) -> SubscriptionDeclared:
    return msgspec.structs.replace(_subscription(match, subscription * 16), priority=priority, max_bytes=max_bytes)


async def test_files_beyond_the_limit_of_a_subscription_are_fetched_by_others_only(
    catalog: Catalog, summit: Peer
) -> None:
    await say(catalog, _limited("**", "a", max_bytes=100), _limited("calib/**", "b"))
    sizes = {"raw/small": 100, "raw/large": 101, "calib/large": 101}
    await receive(
        catalog, *summit.say(*(ingested(summit.store, name, size_bytes=size) for name, size in sizes.items()))
    )
    await _plan(catalog)
    assert await _queued(catalog) == [("raw/small", "a", 0), ("calib/large", "b", 0)]


async def test_what_a_subscription_of_greater_priority_wants_is_fetched_first(catalog: Catalog, summit: Peer) -> None:
    """Among those that want a file the greatest counts."""
    await say(
        catalog, _limited("**", "a", priority=2), _limited("calib/**", "b", priority=9), _limited("calib/**", "c")
    )
    await receive(catalog, *summit.say(*(ingested(summit.store, name) for name in ("raw/1", "raw/2", "calib/1"))))
    await _plan(catalog)
    assert await _queued(catalog) == [("calib/1", "b", 4), ("raw/1", "a", -3), ("raw/2", "a", -3)]


async def test_transfers_that_wait_go_over_to_a_subscription_of_greater_priority_and_back(
    catalog: Catalog, summit: Peer
) -> None:
    """As soon as it is declared, page by page, and when it has ended. What a person asked for keeps its priority."""
    await say(catalog, _limited("**", "b"))
    await receive(catalog, *summit.say(*(ingested(summit.store, name) for name in ("raw/1", "calib/1"))))
    await _plan(catalog)
    first, _ = await catalog.read(order.wanted_now, 100)
    await catalog.write(order.prioritise, first.row.file_id, OWN.store, 50)
    service = Planner(catalog, SystemClock(), SITE, ["http"], Signal())
    for new in (_limited("calib/**", "a", priority=9), _limited("calib/**", "c", priority=1)):
        await say(catalog, new)
        await catalog.write(backfills.start, new.subscription)
        while await catalog.read(planning.backfills):
            await _backfill(service, catalog)
        assert await _queued(catalog) == [("raw/1", "b", 50), ("calib/1", "a", 4)]
    await say(catalog, SubscriptionWithdrawn(subscription="a" * 16))
    await catalog.write(planning.replan_live)
    await _plan(catalog)
    assert await _queued(catalog) == [("raw/1", "b", 50), ("calib/1", "b", 0)]


async def test_what_a_person_asked_for_is_not_taken_over(catalog: Catalog, summit: Peer) -> None:
    await receive(catalog, *summit.say(ingested(summit.store, "raw/1")))
    (known,) = await catalog.read(planning.named, Name("raw/1"))
    await catalog.write(planning.add_one_off, known.file_id, OWN.store, None)
    await _plan(catalog)
    await catalog.write(order.prioritise, known.file_id, OWN.store, -7)
    await say(catalog, _limited("**", "a", priority=9))
    await receive(catalog, *summit.say(healed(summit.store, "raw/1")))
    await _plan(catalog)
    assert await _queued(catalog) == [("raw/1", "o", -7)]


@pytest.mark.parametrize(
    ("said_there", "said_here"),
    [
        ([withdrawn()], []),
        ([ingested(Peer("summit").store, content="other")], []),
        ([], [SubscriptionWithdrawn(subscription=SUBSCRIPTION)]),
        ([], [registered(OWN.store)]),
        ([], [store_declared(OWN.store, active=False)]),
    ],
)
async def test_a_transfer_whose_file_is_no_longer_wanted_is_cancelled(
    catalog: Catalog, summit: Peer, said_there: list[Entry], said_here: list[Entry]
) -> None:
    """Withdrawn, in conflict, unsubscribed, present already, no store for it."""
    await say(catalog, _subscription())
    await receive(catalog, *summit.say(ingested(summit.store)))
    await _plan(catalog)
    await receive(catalog, *summit.each(*said_there))
    await say(catalog, *said_here)
    await catalog.write(planning.replan_live)
    assert [what for what, _ in await _plan(catalog)] == ["Cancel"]
    assert await _state(catalog) == ["cancelled"]


@pytest.mark.parametrize("entry", [suspected(Peer("summit").store), removed(Peer("summit").store)])
async def test_a_source_that_is_gone_for_now_cancels_nothing(catalog: Catalog, summit: Peer, entry: Entry) -> None:
    await say(catalog, _subscription())
    await receive(catalog, *summit.say(ingested(summit.store)))
    await _plan(catalog)
    await receive(catalog, *summit.say(entry))
    assert await _plan(catalog) == []
    assert await _state(catalog) == ["wanted"]


async def test_what_has_landed_is_not_cancelled_any_more(catalog: Catalog, summit: Peer) -> None:
    """Its bytes are on their way to their name; that commit decides."""
    await say(catalog, _subscription())
    await receive(catalog, *summit.say(ingested(summit.store)))
    await _plan(catalog)
    await _move(catalog, Reserve(SUMMIT), Start(), Land())
    await receive(catalog, *summit.say(withdrawn()))
    assert await _plan(catalog) == []
    file_id = (await catalog.read(rows, schema.file))[0].id
    assert await catalog.read(planning.frozen, [file_id]) == {file_id}


@pytest.mark.parametrize("ending", [[Cancel()], [Reserve(SUMMIT), Start(), Land(), Store()]])
async def test_a_file_that_is_wanted_once_more_is_transferred_once_more(
    catalog: Catalog, summit: Peer, ending: list[Event]
) -> None:
    """The row of its last transfer begins again."""
    await say(catalog, _subscription())
    await receive(catalog, *summit.say(ingested(summit.store)))
    await _plan(catalog)
    await _move(catalog, *ending)
    await receive(catalog, *summit.say(healed(summit.store)))
    assert [what for what, _ in await _plan(catalog)] == [Want.__name__]
    assert await _state(catalog) == ["wanted"]


async def test_an_answered_doubt_takes_up_the_transfer_that_was_parked_for_it(catalog: Catalog, summit: Peer) -> None:
    await say(catalog, _subscription())
    await receive(catalog, *summit.say(ingested(summit.store)))
    await _plan(catalog)
    for _ in range(3):
        await _move(catalog, Reserve(SUMMIT), Fail(Reason.CHECKSUM_MISMATCH))
        await catalog.write(batch_rows.restart)
    assert await _state(catalog) == [State.PARKED]
    assert await _plan(catalog) == []
    await receive(catalog, *summit.say(healed(summit.store)))
    assert [what for what, _ in await _plan(catalog)] == [Answered.__name__]
    assert await _state(catalog) == [State.WAITING]


async def test_what_a_person_must_look_at_is_not_taken_up_by_itself(catalog: Catalog, summit: Peer) -> None:
    await say(catalog, _subscription())
    await receive(catalog, *summit.say(ingested(summit.store)))
    await _plan(catalog)
    await _move(catalog, Fail(Reason.NAME_OCCUPIED))
    await receive(catalog, *summit.say(healed(summit.store)))
    assert await _plan(catalog) == []
    assert await _state(catalog) == [State.PARKED]


# ---- sources -----------------------------------------------------------------------------------------------


async def test_sources_are_good_instances_at_admitted_sites(catalog: Catalog, summit: Peer) -> None:
    """The origin first. Doubted, suspected and retired ones, and strangers, are none; the reason is told."""
    campus, stranger = Peer("campus"), Peer("stranger")
    await admit(catalog, campus, may_admit=True)
    offer = SiteAnnounced(software="x", adapters=[HTTP])
    await receive(catalog, *campus.say(offer), *campus.say(admission("stranger")))
    await receive(catalog, *stranger.say(offer), *stranger.say(registered(stranger.store)))
    await admit(catalog, campus)  # which had no right to admit others, and what it admitted is a stranger again
    file_id = (await catalog.read(rows, schema.file))[0].id

    async def found() -> list[str] | UnwantedReason:
        # Twice: two transfers may bring the file into two stores.
        answer = (await catalog.read(planning.find_sources, SITE, ["http"], [file_id, file_id]))[file_id]
        return answer if isinstance(answer, UnwantedReason) else [source.site for source in answer]

    assert await found() is UnwantedReason.NO_SOURCE
    await receive(catalog, *campus.say(registered(campus.store)))
    assert await found() == ["campus"]
    await receive(catalog, *summit.say(ingested(summit.store)))
    assert await found() == ["summit", "campus"]
    await receive(catalog, *campus.say(doubted(summit, summit.position.seq)))
    assert await found() == ["campus"]
    await receive(catalog, *campus.say(suspected(campus.store)))
    assert await found() is UnwantedReason.SOURCE_DOUBTED
    await receive(catalog, *summit.say(StoreRetired(store=summit.store)))
    assert await found() is UnwantedReason.NO_SOURCE
    await receive(catalog, *campus.say(healed(campus.store)), *campus.say(SiteAnnounced(software="x", adapters=[])))
    assert await found() is UnwantedReason.NO_COMMON_ADAPTER
