"""Rows of own instances that are given up: what each step commits, and what makes it void."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.conformance.catalog.peers import Peer, admission, ingested, registered, suspected, withdrawn
from tests.conformance.catalog.running import SITE, receive, say

from librarian_daemon.catalog import eviction_rows as rows
from librarian_daemon.catalog import schema
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.eviction_rows import Giving, Kept
from librarian_daemon.catalog.evictions import attempts, candidates, facts
from librarian_daemon.catalog.evictions.attempts import Back, Wish
from librarian_daemon.catalog.integrity import comparison, instances, set_aside
from librarian_daemon.catalog.landings import standing
from librarian_daemon.ports.ledger import NameStatus
from librarian_daemon.ports.store_capabilities import trash_place
from librarian_protocol.digests import Digest
from librarian_protocol.entries import HoldDeclared, StoreDeclared, StoreRole
from librarian_protocol.eviction.refusal import Refusal
from librarian_protocol.names import Name
from librarian_protocol.requirement import Requirement

OWN = Peer(SITE)
N1, N2, N3 = "1a" * 16, "2b" * 16, "3c" * 16
NOW_S = 1_900_000_000.0
WISH = Wish(store=OWN.store, why="hand", allow_archive=True)
EVIDENCE = Digest.blake3(b"what was answered")


def enough(_around: facts.Surroundings, _file: facts.FileFacts) -> None:
    """The answers are."""


def few(_around: facts.Surroundings, _file: facts.FileFacts) -> Refusal:
    """They are not, by what is known now."""
    return Refusal.NEEDS_ARCHIVE


def declared(peer: Peer, role: StoreRole = StoreRole.ARCHIVE) -> StoreDeclared:
    return StoreDeclared(store=peer.store, label="main", role=role, technology="posix", active=True, ingestable=True)


async def held(catalog: Catalog, *names: str, elsewhere: Sequence[str] = ("north", "south")) -> dict[str, int]:
    """Files that this site and others have; their rows."""
    await say(catalog, declared(OWN))
    for name in names:
        await say(catalog, ingested(OWN.store, name))
    for site in elsewhere:
        peer = Peer(site)
        await say(catalog, admission(peer.site))
        await receive(catalog, *peer.each(declared(peer), *(registered(peer.store, name) for name in names)))
    return {name: (await catalog.read(facts.of_name, Name(name)))[0].file_id for name in names}


async def kept(catalog: Catalog, id_: int) -> Giving | None:
    return (await catalog.read(rows.of_files, [id_])).get((id_, OWN.store))


async def in_trash(catalog: Catalog, ids: list[int], wish: Wish = WISH) -> None:
    """By way of all steps."""
    looked = await catalog.write(attempts.intend, wish, ids, N1, NOW_S)
    assert [(one.refusal, one.unfit) for one in looked] == [(None, False)] * len(ids)
    assert await catalog.write(attempts.decide, wish, N1, ids, NOW_S, enough) == dict.fromkeys(ids)
    mine = await catalog.write(attempts.still_decided, OWN.store, N1, ids)
    assert sorted(one.file_id for one in mine) == sorted(ids)
    await catalog.write(attempts.trashed, OWN.store, N1, ids, N2, NOW_S)


async def test_an_instance_goes_from_available_to_gone(catalog: Catalog) -> None:
    ids = list((await held(catalog, "a", "b")).values())
    await in_trash(catalog, ids)
    assert [(one.file_id, one.number) for one in await catalog.read(rows.due, OWN.store, NOW_S, 10)] == [
        (ids[0], 0),
        (ids[1], 1),
    ]
    assert await catalog.read(rows.due, OWN.store, NOW_S - 1, 10) == []
    assert await catalog.read(rows.due, OWN.store, NOW_S, 10, [N2]) == []
    assert (await catalog.read(rows.trashed, OWN.store)).files == 2
    said = dict.fromkeys(ids, "hand: 2 good instances are left")
    assert await catalog.write(attempts.close, WISH, N1, EVIDENCE, said, NOW_S, enough) == {}, (
        "of another nonce: nothing"
    )
    assert await catalog.write(attempts.close, WISH, N2, EVIDENCE, said, NOW_S, enough) == dict.fromkeys(ids)
    left = await catalog.read(rows.in_stage, OWN.store, [Kept.GONE], 10)
    assert [one.trash for one in left] == [N1, N1]
    await catalog.write(attempts.emptied, OWN.store, left)
    assert not await catalog.read(rows.any_)
    assert {one.state for one in await catalog.read(instances.of_files, SITE, ids)} == {"removed"}
    assert await catalog.read(candidates.after, SITE, OWN.store, 0, 10) == []


async def test_what_was_begun_is_refused_by_name_before_anybody_is_asked(catalog: Catalog) -> None:
    ids = list((await held(catalog, "a", elsewhere=["north"])).values())
    (looked,) = await catalog.write(attempts.intend, WISH, ids, N1, NOW_S)
    assert looked.refusal is Refusal.NOT_ENOUGH_INSTANCES
    one = Wish(store=OWN.store, why="hand", allow_archive=True, own=Requirement(instances=1, domains=1))
    (looked,) = await catalog.write(attempts.intend, one, ids, N1, NOW_S)
    assert looked.refusal is None
    closed = Wish(store=OWN.store, why="rule", own=Requirement(instances=1, domains=1))
    (looked,) = await catalog.read(attempts.look, SITE, closed, ids, NOW_S)
    assert (looked.refusal, looked.unfit) == (Refusal.ROLE_FORBIDS, True)
    await say(catalog, HoldDeclared(match="**", reason="look once more"))
    assert (await catalog.write(attempts.decide, one, N1, ids, NOW_S, enough)) == {ids[0]: Refusal.HELD}
    assert await kept(catalog, ids[0]) is None


async def test_answers_are_judged_once_more_in_the_transaction_that_relies_on_them(catalog: Catalog) -> None:
    pending, trashed = (await held(catalog, "a", "b")).values()
    await in_trash(catalog, [trashed])
    await catalog.write(attempts.intend, WISH, [pending], N3, NOW_S)
    refused = await catalog.write(attempts.decide, WISH, N3, [pending], NOW_S, few)
    assert refused == {pending: Refusal.NEEDS_ARCHIVE}
    assert await kept(catalog, pending) is None
    refused = await catalog.write(attempts.close, WISH, N2, EVIDENCE, {trashed: "hand: x"}, NOW_S, few)
    assert refused == {trashed: Refusal.NEEDS_ARCHIVE}
    left = await kept(catalog, trashed)
    assert left is not None
    assert left.kept is Kept.TRASHED


async def test_what_is_pending_is_available_again_where_too_few_answer(catalog: Catalog) -> None:
    (id_,) = (await held(catalog, "a")).values()
    await catalog.write(attempts.intend, WISH, [id_], N1, NOW_S)
    (again,) = await catalog.write(attempts.intend, WISH, [id_], N3, NOW_S)
    assert again.unfit
    await catalog.write(attempts.abort, OWN.store, N3, [id_])
    assert await kept(catalog, id_) is not None
    await catalog.write(attempts.abort, OWN.store, N1, [id_])
    assert await kept(catalog, id_) is None


async def test_what_lands_once_more_ends_the_attempt_in_the_same_transaction(catalog: Catalog) -> None:
    ids = await held(catalog, "pending", "trashed")
    await in_trash(catalog, [ids["trashed"]])
    await catalog.write(attempts.intend, WISH, [ids["pending"]], N3, NOW_S)
    for name in ids:
        await say(catalog, registered(OWN.store, name))
    assert await kept(catalog, ids["pending"]) is None
    left = await kept(catalog, ids["trashed"])
    assert left is not None
    assert (left.kept, left.nonce, left.trash) == (Kept.LANDED, "", N1)
    said = {ids["trashed"]: "hand: x"}
    assert await catalog.write(attempts.close, WISH, N2, EVIDENCE, said, NOW_S, enough) == {}
    await catalog.write(attempts.emptied, OWN.store, [left])
    assert not await catalog.read(rows.any_)


async def test_what_is_found_bad_ends_what_was_pending_and_not_what_is_in_trash(catalog: Catalog) -> None:
    ids = await held(catalog, "pending", "trashed")
    await in_trash(catalog, [ids["trashed"]])
    await catalog.write(attempts.intend, WISH, [ids["pending"]], N3, NOW_S)
    for name in ids:
        await say(catalog, suspected(OWN.store, name))
    assert await kept(catalog, ids["pending"]) is None
    assert (await kept(catalog, ids["trashed"])) is not None


@pytest.mark.parametrize("wrong", ["", "its bytes are others"])
async def test_what_is_put_back_is_void_first_and_said_to_be_bad_where_it_is(catalog: Catalog, wrong: str) -> None:
    (id_,) = (await held(catalog, "a")).values()
    await in_trash(catalog, [id_])
    one = await kept(catalog, id_)
    assert one is not None
    assert len(await catalog.write(attempts.void, OWN.store, [one])) == 1
    assert await catalog.write(attempts.close, WISH, N2, EVIDENCE, {id_: "hand: x"}, NOW_S, enough) == {}
    assert [found.file_id for found in await catalog.read(rows.voided, OWN.store, 10)] == [id_]
    await catalog.write(attempts.put_back, SITE, OWN.store, [Back(giving=one, wrong=wrong)])
    left = await kept(catalog, id_)
    (instance,) = await catalog.read(instances.of_files, SITE, [id_])
    if wrong:
        assert (left, instance.state) == (None, "suspected")
    else:
        assert left is not None
        assert (left.kept, left.since_s, instance.state) == (Kept.SINCE, NOW_S, "available")
        await catalog.write(attempts.intend, WISH, [id_], N3, NOW_S)
        again = await kept(catalog, id_)
        assert again is not None
        assert again.since_s == NOW_S, "its time in trash is kept"


async def test_a_start_ends_what_was_asked(catalog: Catalog) -> None:
    ids = await held(catalog, "pending", "trashed")
    await in_trash(catalog, [ids["trashed"]])
    await catalog.write(attempts.intend, WISH, [ids["pending"]], N3, NOW_S)
    await catalog.write(attempts.at_start, OWN.store)
    assert await kept(catalog, ids["pending"]) is None
    assert [one.file_id for one in await catalog.read(rows.voided, OWN.store, 10)] == [ids["trashed"]]


@pytest.mark.parametrize(("wrong", "state"), [("", "available"), ("others", "removed")])
async def test_bytes_that_a_catalog_did_not_know_in_trash_are_said_to_be_there(
    catalog: Catalog, wrong: str, state: str
) -> None:
    (id_,) = (await held(catalog, "a")).values()
    await in_trash(catalog, [id_])
    await catalog.write(attempts.close, WISH, N2, EVIDENCE, {id_: "hand: x"}, NOW_S, enough)
    await catalog.write(attempts.found_at_start, OWN.store, id_, wrong)
    (instance,) = await catalog.read(instances.of_files, SITE, [id_])
    assert instance.state == state


async def test_what_is_away_is_served_from_trash_and_not_looked_for_at_its_name(catalog: Catalog) -> None:
    (id_,) = (await held(catalog, "a")).values()
    digest = (await catalog.read(facts.of_name, Name("a")))[0].digest
    assert (await catalog.read(instances.find, SITE, [digest]))[digest].trash == ""
    assert (await catalog.read(standing, OWN.store, [(Name("a"), digest)]))[0][0] is NameStatus.PRESENT
    await in_trash(catalog, [id_])
    assert (await catalog.read(instances.find, SITE, [digest]))[digest].trash == trash_place(N1, 0)
    assert (await catalog.read(comparison.instances_after, SITE, OWN.store, 0, 10)).holdings == []
    assert not (await catalog.read(set_aside.place, id_, OWN.store)).at_its_name
    assert (await catalog.read(standing, OWN.store, [(Name("a"), digest)]))[0][0] is NameStatus.KNOWN


async def test_what_is_in_conflict_or_withdrawn_by_now_is_put_back(catalog: Catalog) -> None:
    ids = await held(catalog, "a", "b", "c")
    await in_trash(catalog, list(ids.values()))
    assert await catalog.read(rows.in_conflict, OWN.store, 10) == []
    await say(catalog, withdrawn("a"))
    north = Peer("north", epoch=2)
    await receive(catalog, *north.say(ingested(north.store, "b", "other bytes")))
    found = await catalog.read(rows.in_conflict, OWN.store, 10)
    assert sorted(one.name for one in found) == ["a", "b"]
    assert not await catalog.read(rows.has_lost_its_name, ids["b"])
    assert [one.name for one in await catalog.read(rows.named, Name("c"))] == ["c"]
    assert [one.name for one in await catalog.read(rows.after, OWN.store, ids["a"], 10)] == ["b", "c"]


async def test_sizes_and_surroundings_are_of_one_moment(catalog: Catalog) -> None:
    await held(catalog, "a")
    digest = (await catalog.read(facts.of_name, Name("a")))[0].digest
    wanted = [(Name("a"), digest), (Name("none"), digest)]
    assert await catalog.read(facts.sizes, wanted) == [11, 0]
    around, files = await catalog.read(facts.load, SITE, None, wanted)
    assert list(files) == [(Name("a"), digest)]
    assert {site for site, _ in around.stores} == {SITE, "north", "south"}
    assert around.required(Name("a")) == Requirement()
    assert schema.eviction.name == "eviction"
