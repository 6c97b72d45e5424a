"""Transfers in the catalog: moved only as the machine allows, and told of in the same commit."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection
from tests.conformance.catalog.peers import Peer, ingested
from tests.conformance.catalog.running import NOW_S, SITE, admit, receive, rows

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.journal import record
from librarian_daemon.catalog.payloads import decompress
from librarian_daemon.catalog.status import totals
from librarian_daemon.catalog.transfers import batch_rows, order, transfers, transitions
from librarian_daemon.catalog.transfers.transfers import NewTransfer, TransferView
from librarian_daemon.catalog.transfers.transitions import Transition
from librarian_daemon.ports.staging_keys import transfer_key
from librarian_protocol import segments
from librarian_protocol.entries import AdapterOffer, Dial, Entry, InstanceDoubted, TransferParked, TransferResumed
from librarian_protocol.names import SiteName
from librarian_protocol.transfer import (
    Answered,
    Cancel,
    Due,
    Event,
    Fail,
    Land,
    Reason,
    Reserve,
    Restart,
    Retry,
    Start,
    State,
    Store,
    Want,
    step,
)

OWN = Peer(SITE)
SUMMIT = SiteName.parse("summit")
HTTP = AdapterOffer(name="http", version=1, address="127.0.0.1:7400", dial=Dial.DESTINATION)


@pytest.fixture
async def owed(catalog: Catalog) -> list[TransferView]:
    """Six files of a peer that are wanted here."""
    peer = Peer("summit")
    await admit(catalog, peer)
    await receive(catalog, *peer.say(*(ingested(peer.store, f"raw/{n}") for n in range(6))))
    ids = [row.id for row in await catalog.read(rows, schema.file)]
    wishes = [NewTransfer(file_id=id_, store=OWN.store, subscription="s") for id_ in ids]
    for _ in range(2):
        await catalog.write(transfers.create, wishes)
    return await catalog.read(order.wanted_now, 100)


async def test_what_only_full_sites_have_is_passed_by(catalog: Catalog, owed: list[TransferView]) -> None:
    """What another site has too is not, nor what nobody has: that fails for its own reason."""
    other = Peer("dome")
    await admit(catalog, other)
    await receive(catalog, *other.say(ingested(other.store, "raw/0")))
    full = frozenset({SUMMIT})

    async def found(sites: frozenset[SiteName]) -> set[str]:
        return {view.name for view in await catalog.read(order.wanted_now, 100, order.FIRST, sites)}

    assert len(await found(frozenset())) == 6
    assert await found(full) == {"raw/0"}
    assert await found(full | {SiteName.parse("dome")}) == set()
    assert len(await found(frozenset({SiteName.parse("mirror")}))) == 6


async def test_what_is_more_urgent_comes_first_and_equals_in_the_order_in_which_they_were_wanted(
    catalog: Catalog, owed: list[TransferView]
) -> None:
    for number, priority in ((4, 100), (2, 7), (5, 7), (0, -100)):
        await catalog.write(order.prioritise, owed[number].row.file_id, OWN.store, priority)
    found: list[TransferView] = []
    after = order.FIRST
    while page := await catalog.read(order.wanted_now, 2, after):
        found += page
        after = page[-1].place
    assert [view.name for view in found] == [f"raw/{n}" for n in (4, 2, 5, 1, 3, 0)]
    assert [view.row.priority for view in found] == [100, 7, 7, 0, 0, -100]
    on_wire, wanted = await catalog.read(order.queue, 4)
    assert (on_wire, [view.id for view in wanted]) == ([], [view.id for view in found[:4]])
    assert {view.source for view in wanted} == {"summit"}

    # It is kept whatever becomes of the transfer.
    assert await _move(catalog, found[0], Reserve(SUMMIT), Start()) is State.FETCHING
    on_wire, _ = await catalog.read(order.queue, 4)
    assert [(view.id, view.left_bytes) for view in on_wire] == [(found[0].id, found[0].size_bytes)]
    assert await _move(catalog, found[0], Fail(Reason.TIMEOUT), Due()) is State.WAITING
    again = await catalog.read(transfers.by_id, found[0].id)
    assert again is not None
    assert again.row.priority == 100


async def test_what_is_wanted_is_read_in_its_order_from_an_index(catalog: Catalog, owed: list[TransferView]) -> None:
    """SQLite would rather sort all of it; PostgreSQL decides by its statistics."""
    assert owed

    def plan(connection: Connection) -> str:
        if connection.dialect.name != "sqlite":
            return "transfer_order transfer_order"
        said: list[str] = []
        for query in (order.WANTED, order.IN_ORDER):
            compiled = query.compile(dialect=connection.dialect, compile_kwargs={"render_postcompile": True})
            values = {"rank": 0, "after": 0, "limit": 10}
            parameters = tuple(values.get(name, -1) for name in compiled.positiontup or ())
            rows_ = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", parameters)
            said += [str(row[3]) for row in rows_]
        return "; ".join(said)

    found = await catalog.read(plan)
    assert found.count("transfer_order") == 2
    assert "TEMP B-TREE" not in found


async def _move(catalog: Catalog, owed: TransferView, *events: Event, now_s: float = NOW_S) -> State:
    for event in events:
        await catalog.write(transitions.apply_transitions, [Transition(view=owed, event=event, message="why")], now_s)
    found = await catalog.read(transfers.by_id, owed.id)
    assert found is not None
    return found.row.transfer.state


def _said(connection: Connection) -> list[Entry]:
    """What this site's journal says of transfers."""
    found: list[Entry] = []
    for row in record.chain(connection, SITE, (0, 0)):
        entries = segments.entries_of(segments.decode(decompress(row.payload))) or []
        found += [entry for entry in entries if isinstance(entry, TransferParked | TransferResumed | InstanceDoubted)]
    return found


async def test_a_wish_is_one_transfer_however_often_it_is_made(catalog: Catalog, owed: list[TransferView]) -> None:
    assert [view.name for view in owed] == [f"raw/{n}" for n in range(6)]
    assert await catalog.read(totals.transfers_by_state) == {"wanted": 6}


async def test_a_transfer_goes_its_way(catalog: Catalog, owed: list[TransferView]) -> None:
    assert await _move(catalog, owed[0], Reserve(SUMMIT), Start(), Land(), Store()) is State.STORED
    found = await catalog.read(transfers.by_id, owed[0].id)
    assert found is not None
    assert found.row.transfer.source == SUMMIT
    assert await catalog.read(totals.transfers_by_state) == {"stored": 1, "wanted": 5}
    assert await catalog.read(_said) == []


async def test_illegal_moves_are_left_alone_and_missing_from_the_answer(
    catalog: Catalog, owed: list[TransferView]
) -> None:
    """What the caller saw may have changed meanwhile: a transfer that was cancelled does not land."""
    await _move(catalog, owed[1], Cancel())
    before = await catalog.read(transfers.by_id, owed[1].id)
    moves = [
        Transition(view=owed[0], event=Reserve(SUMMIT), batch="b1", adapter="http"),
        Transition(view=owed[1], event=Land(), batch="b1"),
        Transition(view=owed[2], event=Store()),
        Transition(view=owed[3], event=Reserve(SUMMIT)),
        Transition(view=owed[3], event=Start(), batch="b1", adapter="http"),
    ]
    taken = await catalog.write(transitions.apply_transitions, moves, NOW_S)
    assert {key: transfer.state for key, transfer in taken.items()} == {
        owed[0].id: State.RESERVED,
        owed[3].id: State.FETCHING,
    }
    assert await catalog.read(transfers.by_id, owed[1].id) == before
    found = await catalog.read(transfers.by_ids, [owed[3].id, owed[0].id])
    assert [(view.row.batch, view.row.adapter) for view in found] == [("b1", "http")] * 2


async def test_a_parked_transfer_is_told_of_in_the_same_commit(catalog: Catalog, owed: list[TransferView]) -> None:
    assert await _move(catalog, owed[0], Fail(Reason.NAME_OCCUPIED)) is State.PARKED
    (said,) = await catalog.read(_said)
    assert isinstance(said, TransferParked)
    assert (said.name, said.store, said.reason, said.message) == ("raw/0", OWN.store, "name-occupied", "why")
    assert await _move(catalog, owed[0], Retry()) is State.WANTED
    resumed = (await catalog.read(_said))[1]
    assert isinstance(resumed, TransferResumed)


async def test_when_patience_with_a_source_ends_its_instance_is_doubted(
    catalog: Catalog, owed: list[TransferView]
) -> None:
    """The doubt names the state of the instance; it and the parking are one commit."""
    bad = Fail(Reason.CHECKSUM_MISMATCH)
    for _ in range(3):
        assert await catalog.read(_said) == []
        await _move(catalog, owed[0], Reserve(SUMMIT), bad, Due(), now_s=NOW_S)
        await _move(catalog, owed[0], Due(), now_s=NOW_S + 1000)
    doubt, parked = await catalog.read(_said)
    assert isinstance(doubt, InstanceDoubted)
    assert isinstance(parked, TransferParked)
    instance = (await catalog.read(rows, schema.instance))[0]
    assert (doubt.owner, doubt.store) == ("summit", instance.store)
    assert (doubt.epoch, doubt.incarnation, doubt.entry_seq) == (instance.epoch, instance.incarnation, instance.seq)
    assert parked.source_site == "summit"
    assert (await catalog.read(rows, schema.doubt))[0].doubter == SITE
    assert await _move(catalog, owed[0], Answered()) is State.WAITING
    assert isinstance((await catalog.read(_said))[2], TransferResumed)


async def test_an_answer_to_a_transfer_that_asked_nothing_changes_nothing(
    catalog: Catalog, owed: list[TransferView]
) -> None:
    """The reason and the message that a person needs stay."""
    await _move(catalog, owed[0], Fail(Reason.NAME_OCCUPIED))
    before = await catalog.read(transfers.by_id, owed[0].id)
    assert await _move(catalog, owed[0], Answered()) is State.PARKED
    after = await catalog.read(transfers.by_id, owed[0].id)
    assert before is not None
    assert after is not None
    assert (after.row.transfer, after.row.message) == (before.row.transfer, "why")


async def test_waiting_transfers_are_due_in_their_time(catalog: Catalog, owed: list[TransferView]) -> None:
    assert await catalog.read(transfers.next_due_s) is None
    for number, now_s in ((2, NOW_S), (1, NOW_S - 100), (0, NOW_S + 100)):
        await _move(catalog, owed[number], Fail(Reason.TIMEOUT), now_s=now_s)
    soonest = await catalog.read(transfers.next_due_s)
    assert soonest is not None
    assert NOW_S - 100 < soonest < NOW_S - 98
    assert await catalog.read(transfers.due, soonest - 0.01, 10) == []
    assert [view.id for view in await catalog.read(transfers.due, soonest, 10)] == [owed[1].id]
    assert [view.id for view in await catalog.read(transfers.due, NOW_S + 2, 10)] == [owed[1].id, owed[2].id]
    assert [view.id for view in await catalog.read(transfers.due, NOW_S + 200, 2)] == [owed[1].id, owed[2].id]
    assert await _move(catalog, owed[1], Due(), now_s=NOW_S) is State.WANTED
    assert await _move(catalog, owed[0], Due(), now_s=NOW_S) is State.WAITING


async def test_a_restart_begins_what_was_under_way_again_and_leaves_the_rest(
    catalog: Catalog, owed: list[TransferView]
) -> None:
    """As the machine's own step says, for every state; batches end, with the adapters that held them."""
    ways: list[list[Event]] = [
        [Reserve(SUMMIT)],
        [Reserve(SUMMIT), Start()],
        [Reserve(SUMMIT), Start(), Land()],
        [Fail(Reason.TIMEOUT)],
        [Fail(Reason.NAME_OCCUPIED)],
        [Cancel()],
    ]
    for view, way in zip(owed, ways, strict=True):
        await _move(catalog, view, *way)
    await catalog.write(batch_rows.open_batch, "b1", SUMMIT, "s", HTTP)
    before = await catalog.read(transfers.by_ids, [view.id for view in owed])
    expected = [step(view.row.transfer, Restart(), 0.0)[0] for view in before]
    for changed in (4, 0):
        assert await catalog.write(batch_rows.restart) == changed
        after = await catalog.read(transfers.by_ids, [view.id for view in owed])
        assert [view.row.transfer for view in after] == expected
    assert await catalog.read(rows, schema.batch) == []
    after = await catalog.read(transfers.by_ids, [view.id for view in owed[4:]])
    assert [view.row.message for view in after] == ["why", "why"]


async def test_a_batch_with_a_ticket_goes_on_after_a_restart(catalog: Catalog, owed: list[TransferView]) -> None:
    for batch, view in zip(("b1", "b2"), owed[:2], strict=True):
        await catalog.write(batch_rows.open_batch, batch, SUMMIT, "s", HTTP)
        moves = [Transition(view=view, event=Reserve(SUMMIT)), Transition(view=view, event=Start(), batch=batch)]
        for move in moves:
            await catalog.write(transitions.apply_transitions, [move], 0.0)
    await catalog.write(batch_rows.save_ticket, "b1", b"ticket")
    await catalog.write(batch_rows.restart)
    (held,) = await catalog.read(batch_rows.held)
    assert (held.id, held.source, held.source_store, held.offer, held.ticket) == ("b1", SUMMIT, "s", HTTP, b"ticket")
    (going_on,) = await catalog.read(batch_rows.of_batch, "b1")
    assert going_on.id == owed[0].id
    assert going_on.row.transfer.state == "wanted"
    assert await catalog.read(batch_rows.of_batch, "b2") == [], "it had none, and begins anew"
    assert "b1" in await catalog.read(batch_rows.live_keys, owed[0].row.store)
    await catalog.write(transitions.apply_transitions, [Transition(view=going_on, event=Cancel())], 0.0)
    assert await catalog.read(batch_rows.of_batch, "b1") == []


async def test_a_batch_is_a_row_only_while_an_adapter_holds_it(catalog: Catalog) -> None:
    await catalog.write(batch_rows.open_batch, "b1", SUMMIT, "s", HTTP)
    await catalog.write(batch_rows.save_ticket, "b1", b"ticket")
    assert [(row.id, row.ticket) for row in await catalog.read(rows, schema.batch)] == [("b1", b"ticket")]
    for _ in range(2):
        await catalog.write(batch_rows.close_batch, "b1")
    assert await catalog.read(rows, schema.batch) == []


async def test_staged_bytes_are_kept_for_as_long_as_the_transfer_may_go_on(
    catalog: Catalog, owed: list[TransferView]
) -> None:
    await _move(catalog, owed[0], Cancel())
    await _move(catalog, owed[1], Reserve(SUMMIT), Start(), Land(), Store())
    await _move(catalog, owed[2], Fail(Reason.NAME_OCCUPIED))
    kept = await catalog.read(batch_rows.live_keys, OWN.store)
    assert {transfer_key(view.id) for view in owed[2:]} <= kept
    assert not {transfer_key(view.id) for view in owed[:2]} & kept
    assert await catalog.read(batch_rows.live_keys, "f" * 32) == frozenset()


async def test_pages_of_transfers_hold_each_once_newest_first(catalog: Catalog, owed: list[TransferView]) -> None:
    await _move(catalog, owed[3], Cancel())
    found: list[int] = []
    before: int | None = None
    while page := await catalog.read(transfers.page_of, state=None, before=before, limit=4):
        found += [view.id for view in page]
        before = found[-1]
    assert found == [view.id for view in reversed(owed)]
    page = await catalog.read(transfers.page_of, state="wanted", before=owed[4].id, limit=2)
    assert [view.id for view in page] == [owed[2].id, owed[1].id]
    assert [view.id for view in await catalog.read(transfers.of_file, owed[3].row.file_id)] == [owed[3].id]
    assert await catalog.read(transfers.by_id, 10**9) is None


async def test_more_moves_than_a_statement_holds_are_all_taken(catalog: Catalog, owed: list[TransferView]) -> None:
    """Steps of one transfer in one call follow one another, wherever the statements divide them."""
    events: list[Event] = [Cancel(), Want()] * 400
    moves = [Transition(view=owed[0], event=event) for event in events]
    moves += [Transition(view=view, event=Reserve(SUMMIT)) for view in owed]
    taken = await catalog.write(transitions.apply_transitions, moves, NOW_S)
    assert {transfer.state for transfer in taken.values()} == {State.RESERVED}
    assert await catalog.read(totals.transfers_by_state) == {"reserved": 6}


async def test_when_a_source_answers_again_what_waits_for_its_link_is_due(
    catalog: Catalog, owed: list[TransferView]
) -> None:
    """And nothing else: neither other reasons, nor other sources."""
    campus = SiteName.parse("campus")
    cases = [
        (SUMMIT, Reason.SOURCE_UNREACHABLE),
        (SUMMIT, Reason.TIMEOUT),
        (SUMMIT, Reason.STORE_FULL),
        (campus, Reason.TIMEOUT),
    ]
    for view, (source, reason) in zip(owed, cases, strict=False):
        await _move(catalog, view, Reserve(source), Start(), Fail(reason))
    assert await catalog.read(transfers.due, NOW_S, 10) == []
    assert await catalog.write(transfers.hasten, SUMMIT, NOW_S) == 2
    assert {view.id for view in await catalog.read(transfers.due, NOW_S, 10)} == {view.id for view in owed[:2]}
    assert await catalog.write(transfers.hasten, SUMMIT, NOW_S) == 0
