"""The row of a batch: the statements that move all of it do what the machine says, and it names what it places."""

from __future__ import annotations

import pytest
from sqlalchemy import update
from tests.conformance.catalog.peers import Peer, ingested
from tests.conformance.catalog.running import NOW_S, SITE, admit, receive, rows

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.transfers import batch_rows, order, transfers, transitions
from librarian_daemon.catalog.transfers.batch_rows import Member
from librarian_daemon.catalog.transfers.transfers import NewTransfer, TransferView
from librarian_daemon.catalog.transfers.transitions import Transition
from librarian_protocol.entries import AdapterOffer, Dial
from librarian_protocol.errors import InvalidTransition
from librarian_protocol.names import SiteName
from librarian_protocol.transfer import Cancel, Event, Land, Pause, Reserve, Start, State, Store, Transfer, step

OWN = Peer(SITE)
SUMMIT = SiteName.parse("summit")
HTTP = AdapterOffer(name="http", version=1, address="127.0.0.1:7400", dial=Dial.DESTINATION)


@pytest.fixture
async def owed(catalog: Catalog) -> list[TransferView]:
    """A transfer for each state of the machine, all wanted."""
    peer = Peer("summit")
    await admit(catalog, peer)
    await receive(catalog, *peer.say(*(ingested(peer.store, f"raw/{n}") for n in range(len(State)))))
    ids = [row.id for row in await catalog.read(rows, schema.file)]
    await catalog.write(transfers.create, [NewTransfer(file_id=id_, store=OWN.store, subscription="s") for id_ in ids])
    return await catalog.read(order.wanted_now, 100)


async def _in_every_state(catalog: Catalog, owed: list[TransferView]) -> list[Transfer]:
    """Each transfer in another state, with all the marks that a transfer can have."""

    def work(tx: Tx) -> None:
        for view, state in zip(owed, State, strict=True):
            marks = {"attempts": 3, "strike": "checksum-mismatch", "strikes": 2, "next_try_s": 9.5, "reason": "timeout"}
            tx.connection.execute(
                update(schema.transfer)
                .where(schema.transfer.c.id == view.id)
                .values(state=state.value, batch="b", message="why", source="summit", **marks)
            )

    await catalog.write(work)
    return [view.row.transfer for view in await catalog.read(transfers.by_ids, [view.id for view in owed])]


def _stepped(transfer: Transfer, *events: Event) -> Transfer:
    """What the machine makes of it; itself where the first event is not for its state."""
    after = transfer
    for event in events:
        try:
            after, commands = step(after, event, NOW_S)
        except InvalidTransition:
            return transfer
        assert commands == ()
    return after


async def test_what_is_taken_is_reserved_and_started_as_the_machine_says(
    catalog: Catalog, owed: list[TransferView]
) -> None:
    before = await _in_every_state(catalog, owed)
    dome = SiteName.parse("dome")
    chosen = {view.id: "the only one" if view.id % 2 else "" for view in owed}
    taken = await catalog.write(batch_rows.take, "b2", dome, "http", chosen)
    after = await catalog.read(transfers.by_ids, [view.id for view in owed])
    assert [view.row.transfer for view in after] == [_stepped(transfer, Reserve(dome), Start()) for transfer in before]
    assert taken == {transfer.id for transfer in before if transfer.state is State.WANTED}
    for view in after:
        mine = (view.row.batch, view.row.message, view.row.adapter)
        assert mine == (("b2", "", "http") if view.id in taken else ("b", "why", None))
        assert view.row.chosen == (chosen[view.id] if view.id in taken else "")


async def test_what_stands_at_its_name_is_landed_and_stored_as_the_machine_says(
    catalog: Catalog, owed: list[TransferView]
) -> None:
    before = await _in_every_state(catalog, owed)
    assert await catalog.write(batch_rows.stored, "another", [view.id for view in owed]) == 0
    fetching = {transfer.id for transfer in before if transfer.state is State.FETCHING}
    assert await catalog.read(batch_rows.going, "b", [view.id for view in owed]) == fetching
    assert await catalog.write(batch_rows.stored, "b", [view.id for view in owed]) == len(fetching) == 1
    after = await catalog.read(transfers.by_ids, [view.id for view in owed])
    landed = {transfer.id: _stepped(transfer, Land(), Store()) for transfer in before if transfer.id in fetching}
    assert [view.row.transfer for view in after] == [landed.get(transfer.id, transfer) for transfer in before]
    assert [view.row.batch for view in after if view.id in fetching] == [None]
    assert await catalog.write(batch_rows.stored, "b", [view.id for view in owed]) == 0


async def test_a_batch_names_what_it_may_be_placing_and_nothing_else(
    catalog: Catalog, owed: list[TransferView]
) -> None:
    """What was stored, cancelled or paused since, or was never taken, is not looked for."""

    def begin(tx: Tx) -> None:
        batch_rows.open_batch(tx, "b", SUMMIT, "s", HTTP, owed)
        batch_rows.take(tx, "b", SUMMIT, "http", {view.id: "" for view in owed[:5]})

    await catalog.write(begin)
    await catalog.write(batch_rows.stored, "b", [owed[0].id])
    for view, event in ((owed[1], Cancel()), (owed[2], Pause())):
        await catalog.write(transitions.apply_transitions, [Transition(view=view, event=event)], NOW_S)
    (placing,) = await catalog.read(batch_rows.placing, OWN.store)
    assert (placing.batch, placing.source) == ("b", SUMMIT)
    assert list(placing.members) == [
        Member(view.id, view.row.file_id, view.name, view.digest, view.size_bytes) for view in owed[3:5]
    ]
    assert await catalog.read(batch_rows.placing, "f" * 32) == []
    await catalog.write(batch_rows.restart)
    assert await catalog.read(batch_rows.placing, OWN.store) == []
