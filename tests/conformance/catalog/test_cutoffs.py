"""What a site said beyond its cutoff does not count, whichever came first: its segment or the word of the roster."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

import msgspec
import pytest
import pytest_asyncio
from tests.conformance.catalog.peers import Peer, Sealed, admission, ingested, key_of
from tests.conformance.catalog.running import SITE, admit, begun, receive, rows, running
from tests.conformance.catalog.shared import Shared, shared

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.database import Database
from librarian_daemon.catalog.journal import heads, replay
from librarian_daemon.catalog.journal.record import BEGINNING
from librarian_daemon.catalog.journal.refold import say_of_roster
from librarian_daemon.catalog.mesh.roster import get_anchor
from librarian_daemon.catalog.transfers import planning, transfers
from librarian_daemon.catalog.transfers.transfers import NewTransfer
from librarian_daemon.incidents.recorder import CatalogIncidents
from librarian_daemon.journal.receiver import Receiver
from librarian_daemon.journal.verify import verify_journal
from librarian_daemon.runtime.metrics import Metrics
from librarian_protocol.entries import Cutoff, SiteAdmitted, SiteRevoked

Word = Callable[[Sealed], SiteRevoked | SiteAdmitted]
AT = "2026-01-02T03:04:05.000006Z"


@pytest.fixture
def peer() -> Peer:
    return Peer("summit")


@pytest.fixture
def sent(peer: Peer) -> list[Sealed]:
    """Three segments, of which the last will be beyond the cutoff."""
    return peer.each(*(ingested(peer.store, f"raw/{n}") for n in range(3)))


@pytest_asyncio.fixture
async def other(elsewhere: Database) -> AsyncGenerator[Catalog]:
    """Another catalog of the same site, to which the same happens in another order."""
    made = await begun(elsewhere, SITE)
    async with running(made):
        yield made


def cutoff_after(segment: Sealed) -> Cutoff:
    return Cutoff(incarnation=segment.segment.incarnation, seq=segment.segment.last_seq, hash=segment.hash)


def revocation(segment: Sealed) -> SiteRevoked:
    return SiteRevoked(
        site=segment.segment.site,
        key=segment.key,
        domain=str(segment.segment.site),
        grants=["**"],
        reason="its disk was sold",
        cutoff=cutoff_after(segment),
    )


def readmission(segment: Sealed) -> SiteAdmitted:
    """With another key, since the first one was stolen."""
    return msgspec.structs.replace(
        admission(str(segment.segment.site), key=key_of("its new key")),
        former=[segment.key],
        cutoff=cutoff_after(segment),
    )


def begin_anew(peer: Peer, end: Sealed) -> None:
    """The site goes on behind this segment, in a new incarnation with its new key."""
    peer.restart()
    peer.position = msgspec.structs.replace(peer.position, seq=end.segment.last_seq, hash=end.hash)
    peer.key = key_of("its new key")


async def took(catalog: Catalog, arriving: list[Sealed]) -> Receiver:
    """What takes segments, once it took these."""
    taking = Receiver(catalog, CatalogIncidents(catalog), Metrics(SITE), SITE)
    for sealed in arriving:
        await taking.take(sealed.segment.site, sealed.payload, sealed.signature, None)
    return taking


async def tables_of(catalog: Catalog) -> Shared:
    return await catalog.read(shared)


async def states(catalog: Catalog, peer: Peer) -> list[str]:
    return [row.state for row in await catalog.read(rows, schema.journal, schema.journal.c.site == peer.site)]


@pytest.mark.parametrize("word", [revocation, readmission])
async def test_it_does_not_matter_whether_the_segment_or_the_word_comes_first(
    catalog: Catalog, other: Catalog, peer: Peer, sent: list[Sealed], word: Word
) -> None:
    entry = word(sent[1])
    await admit(catalog, peer)
    await receive(catalog, *sent)
    await catalog.write(say_of_roster, entry)
    await admit(other, peer)
    await receive(other, *sent[:2])
    await other.write(say_of_roster, entry)
    late = (await receive(other, sent[2]))[0]
    assert (late.verdict, late.applied, late.stalled) == ("ended", 0, "")
    assert await states(catalog, peer) == ["applied", "applied", "ended"]
    assert await states(other, peer) == ["applied", "applied"]
    for copy in (catalog, other):
        assert {row.name for row in await copy.read(rows, schema.file)} == {"raw/0", "raw/1"}
        assert (await verify_journal(copy, peer.site, None)).problems == []
    assert await tables_of(other) == await tables_of(catalog)
    assert {tip.hash for tip in await other.read(heads.tips) if tip.site == peer.site} == {
        tip.hash for tip in await catalog.read(heads.tips) if tip.site == peer.site
    }


async def test_what_a_site_says_with_its_new_key_goes_on_from_the_cutoff(
    catalog: Catalog, peer: Peer, sent: list[Sealed]
) -> None:
    await admit(catalog, peer)
    await receive(catalog, *sent)
    await catalog.write(say_of_roster, readmission(sent[1]))
    thief = Peer("summit")
    thief.position = peer.position
    begin_anew(peer, sent[1])
    received = await receive(catalog, *peer.say(ingested(peer.store, "raw/new")), *thief.say(ingested(peer.store, "x")))
    assert [result.verdict for result in received] == ["apply", "ended"]
    emptied = Peer("summit", epoch=9)
    emptied.key = key_of("its new key")
    (received[-1],) = await receive(catalog, *emptied.say(ingested(peer.store, "begun anew, in an empty directory")))
    assert received[-1].verdict == "apply"
    assert {row.name for row in await catalog.read(rows, schema.file)} == {
        "raw/0",
        "raw/1",
        "raw/new",
        "begun anew, in an empty directory",
    }


async def test_the_former_key_cannot_void_what_the_new_one_says(
    catalog: Catalog, peer: Peer, sent: list[Sealed]
) -> None:
    """Its thief knows the new incarnation, and signs other segments for the same numbers."""
    await admit(catalog, peer)
    await receive(catalog, *sent[:2])
    await catalog.write(say_of_roster, readmission(sent[1]))
    begin_anew(peer, sent[1])
    thief = Peer("summit")
    thief.position = peer.position
    true = peer.each(ingested(peer.store, "raw/3"), ingested(peer.store, "raw/4"))
    false = thief.each(ingested(peer.store, "x/3"), ingested(peer.store, "x/4"))
    received = await receive(catalog, false[0], true[0], false[1], true[1], false[0])
    assert [result.verdict for result in received] == ["ended", "apply", "ended", "apply", "ended"]
    assert {row.name for row in await catalog.read(rows, schema.file)} == {"raw/0", "raw/1", "raw/3", "raw/4"}


async def test_two_stories_that_lie_beyond_the_cutoff_are_none(
    catalog: Catalog, peer: Peer, sent: list[Sealed]
) -> None:
    """How a site that told two stories, because a backup of it was run twice, comes back."""
    await admit(catalog, peer)
    other = Peer("summit")
    other.position = msgspec.structs.replace(peer.position, seq=2, hash=sent[1].hash)
    received = await receive(catalog, *sent, *other.say(ingested(peer.store, "raw/other")))
    assert received[-1].verdict == "equivocation"
    await catalog.write(say_of_roster, readmission(sent[1]))
    assert await states(catalog, peer) == ["applied", "applied", "ended", "ended"]
    begin_anew(peer, sent[1])
    (received[-1],) = await receive(catalog, *peer.say(ingested(peer.store, "raw/new")))
    assert (received[-1].verdict, received[-1].stalled) == ("apply", "")


async def test_a_roster_that_changes_between_the_check_of_a_signature_and_the_commit_counts(
    catalog: Catalog, peer: Peer, sent: list[Sealed]
) -> None:
    """The signature was checked by the roster as it was; what counts is judged where it is applied."""
    await admit(catalog, peer)
    taking = await took(catalog, sent[:2])
    await catalog.write(say_of_roster, revocation(sent[1]))
    _, received = await taking.take(peer.site, sent[2].payload, sent[2].signature, None)
    assert received.verdict == "ended"
    assert {row.name for row in await catalog.read(rows, schema.file)} == {"raw/0", "raw/1"}


async def test_a_key_that_is_new_is_known_when_it_is_first_used(
    catalog: Catalog, peer: Peer, sent: list[Sealed]
) -> None:
    await admit(catalog, peer)
    taking = await took(catalog, sent[:2])
    await catalog.write(say_of_roster, readmission(sent[1]))
    begin_anew(peer, sent[1])
    (new,) = peer.say(ingested(peer.store, "raw/new"))
    _, received = await taking.take(peer.site, new.payload, new.signature, None)
    assert received.verdict == "apply"


async def test_a_file_that_somebody_here_asked_for_stays_known_after_its_site_is_revoked(
    catalog: Catalog, peer: Peer, sent: list[Sealed]
) -> None:
    await admit(catalog, peer)
    await receive(catalog, *sent)
    ids = {row.name: row.id for row in await catalog.read(rows, schema.file)}
    await catalog.write(planning.add_one_off, ids["raw/2"], "a store", None)
    await catalog.write(say_of_roster, revocation(sent[0]))
    assert {row.name for row in await catalog.read(rows, schema.file)} == {"raw/0", "raw/2"}


async def test_nothing_is_planned_for_a_file_that_is_gone_when_the_plan_is_committed(
    catalog: Catalog, peer: Peer, sent: list[Sealed]
) -> None:
    """Nor for another one that has its number since; and what else is in the plan is."""
    await admit(catalog, peer)
    await receive(catalog, *sent)
    seen = {row.id: row.change for row in await catalog.read(rows, schema.file)}
    await catalog.write(say_of_roster, revocation(sent[1]))
    assert await _planned(catalog, seen) == set()
    seen = {row.id: row.change for row in await catalog.read(rows, schema.file)}
    assert await _planned(catalog, {**seen, max(seen) + 1: 7}) == set(seen)


async def _planned(catalog: Catalog, seen: dict[int, int]) -> set[int]:
    """Plan for these files, which were seen with these change numbers. Returns those of which there is a transfer."""
    wishes = [NewTransfer(file_id=id_, store="s", subscription="", change=change) for id_, change in seen.items()]
    await catalog.write(transfers.create, wishes)
    return {row.file_id for row in await catalog.read(rows, schema.transfer)}


async def test_a_replay_of_the_journals_leaves_out_the_same(
    catalog: Catalog, elsewhere: Database, peer: Peer, sent: list[Sealed]
) -> None:
    await admit(catalog, peer)
    await receive(catalog, *sent)
    await catalog.write(say_of_roster, revocation(sent[1]))
    anchor = await catalog.read(get_anchor)
    assert anchor is not None
    record, _ = await catalog.read(replay.records, BEGINNING, 100, 100)
    await elsewhere.write(lambda connection: replay.begin(connection, anchor, []))
    assert await elsewhere.write(lambda connection: replay.take(connection, record, AT)) == []
    assert await elsewhere.write(lambda connection: replay.fold(connection, SITE, AT)) == []
    assert await elsewhere.read(shared) == await tables_of(catalog)
