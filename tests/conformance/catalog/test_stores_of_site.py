"""The stores of this site in its catalog: which are attached, what is promised of their room, where transfers move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from sqlalchemy import update
from tests.conformance.catalog.peers import Peer, ingested, registered, store_declared
from tests.conformance.catalog.running import SITE, admit, receive, rows, say

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.mesh import declarations
from librarian_daemon.catalog.stores import attached, promises
from librarian_daemon.catalog.stores.attached import Attached, Configured, Origin
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.transfers import moves, order, planning, transfers, transitions
from librarian_daemon.catalog.transfers.moves import Move
from librarian_daemon.catalog.transfers.transfers import NewTransfer, TransferView
from librarian_daemon.catalog.transfers.transitions import Transition
from librarian_daemon.runtime.clock import SystemClock
from librarian_daemon.runtime.signals import Signal
from librarian_daemon.transfers.planner import Planner
from librarian_protocol.entries import AdapterOffer, Dial, SiteAnnounced, StoreRole, SubscriptionDeclared
from librarian_protocol.errors import ArgumentInvalid, NotFound
from librarian_protocol.names import Name
from librarian_protocol.store_settings import StoreOverrides, StoreValues
from librarian_protocol.transfer import Cancel, Event, Fail, Pause, Reason, Reserve, Start, State
from librarian_protocol.wanted import LOCAL, Source

A, B, C = ("a" * 32, "b" * 32, "c" * 32)
ANNOUNCED = SiteAnnounced(software="tests", adapters=[])


def configured(id_: str, label: str, **values: Any) -> Configured:
    return Configured(id=id_, label=label, path=f"/{label}", role=StoreRole.ARCHIVE, values=StoreValues(**values))


async def start(catalog: Catalog, *stores: Configured) -> None:
    """As at a start of the daemon."""
    await catalog.write(attached.begin, stores)
    await catalog.write(_declare)


def _declare(tx: Tx) -> None:
    declarations.declare(tx, SITE, declarations.attached_now(tx.connection), ANNOUNCED)


async def declared(catalog: Catalog) -> dict[str, tuple[bool, bool]]:
    """By label: whether it is declared active, and ingestable."""
    found = await catalog.read(rows, schema.store)
    return {row.label: (bool(row.active), bool(row.ingestable)) for row in found}


async def origins(catalog: Catalog) -> dict[str, Origin]:
    return {store.label: store.origin for store in await catalog.read(attached.known)}


# ---- attached ----------------------------------------------------------------------------------------------


async def test_a_start_keeps_what_a_person_set_and_takes_the_rest_from_the_configuration(catalog: Catalog) -> None:
    await start(catalog, configured(A, "main", priority=5))
    (store,) = await catalog.read(attached.attached)
    said = msgspec.structs.replace(store, overrides=StoreOverrides(active=False), reason="why", at="then")
    await catalog.write(attached.put, said)
    await start(catalog, configured(A, "main", priority=7, ingestable=False))
    (store,) = await catalog.read(attached.attached)
    assert store.values == StoreValues(active=False, ingestable=False, priority=7)
    assert (store.reason, store.at) == ("why", "then")
    assert await declared(catalog) == {"main": (False, False)}


async def test_what_leaves_the_configuration_is_not_attached_and_what_was_said_of_it_stays(catalog: Catalog) -> None:
    await start(catalog, configured(A, "main"), configured(B, "second"))
    live = Attached(
        id=C, label="live", path="/live", role=StoreRole.BUFFER, origin=Origin.LIVE, configured=StoreValues()
    )
    await catalog.write(attached.put, live)
    await start(catalog, configured(A, "main"))
    assert [store.label for store in await catalog.read(attached.attached)] == ["live", "main"]
    assert await origins(catalog) == {"main": Origin.FILE, "second": Origin.LEFT, "live": Origin.LIVE}
    assert await declared(catalog) == dict.fromkeys(["main", "second", "live"], (True, True))
    await start(catalog, configured(A, "main"), configured(B, "second"), configured(C, "live"))
    assert set((await origins(catalog)).values()) == {Origin.FILE}


async def test_a_store_is_meant_by_its_id_or_label(catalog: Catalog) -> None:
    await start(catalog, configured(A, "main"))
    known = await catalog.read(attached.attached)
    assert attached.meant(known, "main") == attached.meant(known, A)
    with pytest.raises(NotFound, match="no store 'other'") as refused:
        attached.meant(known, "other")
    assert refused.value.hint == "there are: main"


async def test_a_store_keeps_its_role_and_does_not_come_back_once_retired(catalog: Catalog) -> None:
    await start(catalog, configured(A, "main"))
    await catalog.read(attached.check_role, SITE, A, StoreRole.ARCHIVE)
    await catalog.read(attached.check_role, SITE, B, StoreRole.BUFFER)
    with pytest.raises(ArgumentInvalid, match="has the role archive, not buffer"):
        await catalog.read(attached.check_role, SITE, A, StoreRole.BUFFER)
    await catalog.read(attached.check_not_retired, SITE, A)
    await catalog.write(declarations.retire, SITE, A, in_use=[], lost=False)
    with pytest.raises(ArgumentInvalid, match="was retired, and that is final"):
        await catalog.read(attached.check_not_retired, SITE, A)
    assert await catalog.read(attached.known) == []
    await catalog.write(_declare)
    assert await catalog.read(attached.usable, SITE) == {}, "it is not declared again"


async def test_a_store_without_a_row_of_its_own_is_used_as_it_was_declared(catalog: Catalog) -> None:
    await start(catalog, configured(A, "main", priority=3, reserve="7%"))
    await say(catalog, store_declared(B))
    used = await catalog.read(attached.usable, SITE)
    assert used[A].values == StoreValues(priority=3, reserve="7%")
    assert used[B].values == StoreValues()


async def test_a_store_is_used_as_long_as_anything_stands_there_or_comes(catalog: Catalog, summit: Peer) -> None:
    await start(catalog, configured(A, "main"), configured(B, "second"))

    async def used() -> list[bool]:
        return [await catalog.read(declarations.is_used, SITE, store) for store in (A, B)]

    assert await used() == [False, False]
    await say(catalog, ingested(A, "raw/0"))
    await wanted(catalog, summit, B, "raw/1")
    assert await used() == [True, False]
    await step(catalog, "raw/1", Reserve(summit.site), Start())
    assert await used() == [True, True]


# ---- promises ----------------------------------------------------------------------------------------------


@pytest.fixture
async def summit(catalog: Catalog) -> Peer:
    """A site that has files."""
    peer = Peer("summit")
    await admit(catalog, peer)
    http = AdapterOffer(name="http", version=1, address="http://a", dial=Dial.DESTINATION)
    await receive(catalog, *peer.say(SiteAnnounced(software="tests", adapters=[http])))
    return peer


async def wanted(catalog: Catalog, summit: Peer, store: str, *names: str) -> None:
    """Files of the other site that are wanted into a store. Each has 11 bytes."""
    await receive(catalog, *summit.say(*(ingested(summit.store, name) for name in names)))
    known = [(await catalog.read(planning.named, Name(name)))[0] for name in names]
    new = [NewTransfer(file_id=file.file_id, store=store, subscription="5" * 16) for file in known]
    await catalog.write(transfers.create, new)


async def view_of(catalog: Catalog, name: str) -> TransferView:
    (file,) = await catalog.read(planning.named, Name(name))
    return (await catalog.read(transfers.of_file, file.file_id))[-1]


async def step(catalog: Catalog, name: str, *events: Event) -> None:
    view = await view_of(catalog, name)
    for event in events:
        await catalog.write(transitions.apply_transitions, [Transition(view=view, event=event)], 0.0)


async def test_what_is_about_to_be_written_is_promised_and_nothing_else(catalog: Catalog, summit: Peer) -> None:
    await start(catalog, configured(A, "main"), configured(B, "second"))
    await wanted(catalog, summit, A, "raw/0", "raw/1", "raw/2")
    assert await catalog.read(promises.promised) == {}
    await step(catalog, "raw/0", Reserve(summit.site))
    await step(catalog, "raw/1", Reserve(summit.site), Start())
    await step(catalog, "raw/2", Reserve(summit.site), Start(), Fail(Reason.TIMEOUT))
    (view,) = [await view_of(catalog, "raw/0")]
    size = view.size_bytes
    assert await catalog.read(promises.promised) == {A: 2 * size}
    assert await catalog.write(promises.promise, "claim", A, 5, 100, 0)
    assert await catalog.write(promises.promise, "upload", B, 7, 100, 0)
    assert await catalog.read(promises.promised) == {A: 2 * size + 5, B: 7}
    assert await catalog.write(promises.promise, "claim", A, 6, 100, 0), "in place of what it had"
    await catalog.write(promises.release, ["upload", "nothing"])
    assert await catalog.read(promises.promised) == {A: 2 * size + 6}
    await catalog.write(promises.begin)
    assert await catalog.read(promises.promised) == {A: 2 * size}


async def test_no_more_is_promised_than_there_was_room_for_less_what_others_were_promised_since(
    catalog: Catalog,
) -> None:
    """Each looked when nothing was promised and 10 bytes were left."""
    assert await catalog.write(promises.promise, "one", A, 6, 10, 0)
    assert not await catalog.write(promises.promise, "two", A, 5, 10, 0)
    assert await catalog.write(promises.promise, "two", A, 4, 10, 0)
    assert await catalog.read(promises.promised) == {A: 10}
    assert await catalog.write(promises.promise, "three", A, 4, 4, 10), "it looked later"
    assert await catalog.write(promises.promise, "elsewhere", B, 10, 10, 0)


# ---- moves -------------------------------------------------------------------------------------------------


async def test_a_wanted_transfer_moves_to_another_store_in_place_of_one_that_ended_there(
    catalog: Catalog, summit: Peer
) -> None:
    await wanted(catalog, summit, B, "raw/0")
    await step(catalog, "raw/0", Cancel())
    await wanted(catalog, summit, A, "raw/0")
    view = await view_of(catalog, "raw/0")
    assert await catalog.write(moves.move, [Move(view.id, view.row.file_id, B)]) == {view.id}
    found = await catalog.read(transfers.of_file, view.row.file_id)
    assert [(seen.id, seen.row.store, seen.row.transfer.state) for seen in found] == [(view.id, B, State.WANTED)]


@pytest.mark.parametrize(
    "there",
    [[], [Pause()], [Fail(Reason.STORE_FULL)], [Cancel(by_person=True)]],
    ids=["wanted", "paused", "waiting", "person"],
)
async def test_nothing_moves_to_where_another_transfer_goes_on_or_a_person_cancelled_it(
    catalog: Catalog, summit: Peer, there: Sequence[Event]
) -> None:
    await wanted(catalog, summit, B, "raw/0")
    await step(catalog, "raw/0", *there)
    await wanted(catalog, summit, A, "raw/0")
    view = await view_of(catalog, "raw/0")
    assert (await catalog.read(moves.kept_from, [view.row.file_id]))[view.row.file_id] == {A, B}
    assert await catalog.write(moves.move, [Move(view.id, view.row.file_id, B)]) == set()
    assert (await view_of(catalog, "raw/0")).row.store == A


async def test_what_is_not_wanted_any_more_does_not_move(catalog: Catalog, summit: Peer) -> None:
    await wanted(catalog, summit, A, "raw/0")
    await step(catalog, "raw/0", Reserve(summit.site))
    view = await view_of(catalog, "raw/0")
    assert await catalog.write(moves.move, [Move(view.id, view.row.file_id, B)]) == set()
    assert (await view_of(catalog, "raw/0")).row.store == A


async def test_stores_with_an_instance_are_known_bad_ones_too_and_removed_ones_not(
    catalog: Catalog, summit: Peer
) -> None:
    await receive(catalog, *summit.say(ingested(summit.store, "raw/0")))
    (file,) = await catalog.read(planning.named, Name("raw/0"))
    assert await catalog.read(moves.occupied, SITE, [file.file_id]) == {}
    for store in (A, B, C):
        await say(catalog, registered(store, "raw/0"))

    def spoil(tx: Tx) -> None:
        for store, state in ((B, "suspected"), (C, "removed")):
            where = (schema.instance.c.store == store) & (schema.instance.c.file_id == file.file_id)
            tx.connection.execute(update(schema.instance).where(where).values(state=state))

    await catalog.write(spoil)
    assert await catalog.read(moves.occupied, SITE, [file.file_id]) == {file.file_id: {A, B}}


# ---- waiting for stores ------------------------------------------------------------------------------------


async def test_what_waits_for_a_store_is_due_at_once_when_one_can_take_more(catalog: Catalog, summit: Peer) -> None:
    await wanted(catalog, summit, A, "raw/0", "raw/1")
    assert not await catalog.read(transfers.wait_for_stores)
    await step(catalog, "raw/0", Fail(Reason.STORE_FULL))
    await step(catalog, "raw/1", Fail(Reason.TIMEOUT))
    assert await catalog.read(transfers.wait_for_stores)
    assert await catalog.write(transfers.hasten_for_stores, 0.0) == 1
    assert [view.name for view in await catalog.read(transfers.due, 0.0, 10)] == ["raw/0"]


async def test_what_was_too_large_is_tried_again_as_far_as_it_fits(catalog: Catalog, summit: Peer) -> None:
    await wanted(catalog, summit, A, "raw/0")
    await step(catalog, "raw/0", Fail(Reason.TOO_LARGE))
    view = await view_of(catalog, "raw/0")
    assert view.row.transfer.state is State.PARKED
    await catalog.write(transitions.retry_too_large, view.size_bytes - 1, 0.0)
    assert (await view_of(catalog, "raw/0")).row.transfer.state is State.PARKED
    await catalog.write(transitions.retry_too_large, view.size_bytes, 0.0)
    assert [seen.name for seen in await catalog.read(order.wanted_now, 10)] == ["raw/0"]


# ---- the planner and where transfers went -------------------------------------------------------------------


async def plan(catalog: Catalog) -> None:
    """All that changed."""
    planner = Planner(catalog, SystemClock(), SITE, ["http"], Signal())
    while not planner.planned(await catalog.write(planner.plan)):
        pass


async def subscribed(catalog: Catalog, summit: Peer) -> None:
    """Two stores, one subscription into them, and a file of the other site."""
    await start(catalog, configured(A, "a"), configured(B, "b"))
    await say(catalog, SubscriptionDeclared(subscription="5" * 16, from_site=None, match="**", into=[A, B]))
    await receive(catalog, *summit.say(ingested(summit.store, "raw/0")))
    await plan(catalog)


async def goings(catalog: Catalog) -> list[tuple[str, State]]:
    (file,) = await catalog.read(planning.named, Name("raw/0"))
    found = await catalog.read(transfers.of_file, file.file_id)
    return [(view.row.store, view.row.transfer.state) for view in found]


async def test_a_transfer_that_moved_is_still_the_only_one_of_its_subscription(catalog: Catalog, summit: Peer) -> None:
    await subscribed(catalog, summit)
    assert await goings(catalog) == [(A, State.WANTED)]
    view = await view_of(catalog, "raw/0")
    await catalog.write(moves.move, [Move(view.id, view.row.file_id, B)])
    await catalog.write(planning.replan_live)
    await plan(catalog)
    assert await goings(catalog) == [(B, State.WANTED)]


async def test_what_a_person_cancelled_in_one_store_is_not_wanted_in_another(catalog: Catalog, summit: Peer) -> None:
    await subscribed(catalog, summit)
    view = await view_of(catalog, "raw/0")
    await catalog.write(moves.move, [Move(view.id, view.row.file_id, B)])
    await step(catalog, "raw/0", Cancel(by_person=True))
    await receive(catalog, *summit.say(registered(summit.store, "raw/0")))
    await plan(catalog)
    assert await goings(catalog) == [(B, State.CANCELLED)]


async def test_a_subscription_to_the_own_site_waits_until_another_store_has_the_file(
    catalog: Catalog, summit: Peer
) -> None:
    """Then it is wanted, from there; and it is not wanted once more when it is there."""
    await start(catalog, configured(A, "a"), configured(B, "b"))
    await say(catalog, SubscriptionDeclared(subscription="5" * 16, from_site=SITE, match="**", into=[B]))
    await receive(catalog, *summit.say(ingested(summit.store, "raw/0")))
    await plan(catalog)
    (file,) = await catalog.read(planning.named, Name("raw/0"))
    assert await goings(catalog) == []
    assert (await catalog.read(planning.find_local_sources, SITE, [file.file_id]))[file.file_id] == "no-other-store"
    await say(catalog, registered(A, "raw/0"))
    await plan(catalog)
    assert await goings(catalog) == [(B, State.WANTED)]
    ways = (await catalog.read(planning.find_local_sources, SITE, [file.file_id]))[file.file_id]
    assert ways == [Source(SITE, A, LOCAL)]
    assert await catalog.read(planning.local_subscriptions, SITE) == {"5" * 16}
    await say(catalog, registered(B, "raw/0"))
    await step(catalog, "raw/0", Cancel())
    await plan(catalog)
    assert await goings(catalog) == [(B, State.CANCELLED)]
