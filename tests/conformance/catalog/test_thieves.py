"""A key that ended goes on speaking: what it says is not the past of where it ended, and nobody believes it.

The thief has every key of a site that was revoked or readmitted. He chooses numbers and epochs, and whom he tells
first.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import permutations
from typing import Any

import msgspec
import pytest
from sqlalchemy import update
from tests.conformance.catalog.peers import Peer, Sealed, admission, ingested, key_of, removed
from tests.conformance.catalog.running import SITE, receive, rows
from tests.conformance.catalog.shared import shared

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.database import Database
from librarian_daemon.catalog.journal import endings, replay, segments, standings
from librarian_daemon.catalog.journal.record import BEGINNING
from librarian_daemon.catalog.journal.refold import refold, say_of_roster
from librarian_daemon.catalog.mesh.roster import get_anchor, known_members
from librarian_daemon.catalog.meta import put_meta
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.journal.verify import verify_journal
from librarian_protocol.entries import Access, Cutoff, Entry, SiteAdmitted, SiteRekeyed, SiteRevoked
from librarian_protocol.errors import ArgumentInvalid, NotFound, SignatureInvalid
from librarian_protocol.names import SiteName
from librarian_protocol.roster import ends_of

CAMPUS = SiteName.parse("campus")
MALLORY = SiteName.parse("mallory")
NEW = "the new key of the campus"


@pytest.fixture
def campus() -> Peer:
    return Peer("campus")


def tip(segment: Sealed) -> Cutoff:
    return Cutoff(incarnation=segment.segment.incarnation, seq=segment.segment.last_seq, hash=segment.hash)


def word(kind: str, *tips: Sealed, old_form: bool = False) -> SiteRevoked | SiteAdmitted:
    """The first site's word about the campus, whose key was stolen."""
    named = [tip(segment) for segment in tips]
    fields: dict[str, Any] = {"cutoff": named[0]} if old_form else {"tips": named}
    if kind == "revoked":
        return SiteRevoked(
            site=CAMPUS, key=key_of("campus").public, domain="campus", grants=["**"], reason="break-in", **fields
        )
    entry = admission("campus", key=key_of(NEW), may_admit=True)
    return msgspec.structs.replace(entry, former=[key_of("campus").public], **fields)


def thief(epoch: int = 1000, after: Sealed | None = None) -> Peer:
    """Who begins the journal anew, or branches off from it."""
    made = Peer("campus", epoch=epoch)
    if after is not None:
        made.position = msgspec.structs.replace(made.position, seq=after.segment.last_seq, hash=after.hash)
    return made


def lies(by: Peer, honest: Sealed) -> list[Sealed]:
    """A file, the removal of an instance that is there, and a site of his own."""
    gone: Entry = removed(by.store, "raw/0")
    return by.each(ingested(by.store, f"lie/{by.position.epoch}/{honest.hash[:6]}"), gone, admission("mallory"))


async def believed(catalog: Catalog) -> tuple[set[str], bool, bool]:
    """Names, whether the instance that the thief removes is there, and whether his site is of the mesh."""
    names = {row.name for row in await catalog.read(rows, schema.file)}
    instances = await catalog.read(rows, schema.instance, schema.instance.c.site == "campus")
    removal = any(row.state == "removed" for row in instances)
    return names, not removal, MALLORY in await catalog.read(known_members)


HONEST = {"raw/0", "raw/1", "raw/2"}


async def said(catalog: Catalog, campus: Peer, count: int = 3) -> list[Sealed]:
    """What the campus said before it was broken into."""
    await catalog.write(say_of_roster, admission("campus", may_admit=True))
    found = campus.each(*(ingested(campus.store, f"raw/{n}") for n in range(count)))
    await receive(catalog, *found)
    return found


@pytest.mark.parametrize("kind", ["revoked", "readmitted"])
@pytest.mark.parametrize("old_form", [False, True], ids=["tips", "cutoff"])
async def test_low_numbers_and_a_great_epoch_are_no_way_around_a_cutoff(
    catalog: Catalog, campus: Peer, kind: str, old_form: bool
) -> None:
    honest = await said(catalog, campus)
    await catalog.write(say_of_roster, word(kind, honest[-1], old_form=old_form))
    for by in (thief(), thief(after=honest[0]), thief(after=honest[-1]), thief(epoch=0)):
        got = await receive(catalog, *lies(by, honest[0]))
        assert {result.verdict for result in got} == {"ended"}, by.position
    assert await believed(catalog) == (HONEST, True, False)
    assert (await verify_journal(catalog, CAMPUS, None)).problems == []
    assert await catalog.read(standings.left_out, CAMPUS) == (0, 0), "nothing is kept of it"


@pytest.mark.parametrize("kind", ["revoked", "readmitted"])
async def test_what_was_believed_before_the_word_came_is_believed_no_more(
    catalog: Catalog, campus: Peer, kind: str
) -> None:
    """His site, too, and what that one said."""
    honest = await said(catalog, campus)
    await receive(catalog, *lies(thief(), honest[0]), *lies(thief(epoch=900, after=honest[1]), honest[1]))
    accomplice = Peer("mallory")
    await receive(catalog, *accomplice.say(ingested(accomplice.store, "lie/of mallory")))
    names, whole, admitted = await believed(catalog)
    assert len(names) == len(HONEST) + 3
    assert (whole, admitted) == (False, True)
    await catalog.write(say_of_roster, word(kind, honest[-1]))
    assert await believed(catalog) == (HONEST, True, False)
    assert await catalog.read(standings.left_out, CAMPUS) == (6, 6)
    for site in (CAMPUS, MALLORY):
        assert (await verify_journal(catalog, site, None)).problems == []


async def test_a_newcomer_believes_nothing_before_it_holds_where_the_key_ended(catalog: Catalog, campus: Peer) -> None:
    """In every order of two honest segments, the word and a lie."""
    honest = campus.each(*(ingested(campus.store, f"raw/{n}") for n in range(2)))
    lie = thief().say(ingested(campus.store, "lie/x"))[0]
    entry = msgspec.structs.replace(word("revoked", honest[-1]))
    await catalog.write(say_of_roster, entry)
    for arriving in permutations([*honest, lie]):
        verdicts = [result.verdict for result in await receive(catalog, *arriving)]
        names, _, _ = await believed(catalog)
        assert names == {"raw/0", "raw/1"}, [str(result) for result in verdicts]
        assert (await verify_journal(catalog, CAMPUS, None)).problems == []
        await catalog.write(_emptied)


def _emptied(tx: Tx) -> None:
    tx.connection.execute(schema.journal.delete().where(schema.journal.c.site == "campus"))
    before = dict(known_members(tx.connection))
    refold(tx, CAMPUS)
    assert before == known_members(tx.connection)


async def test_a_part_of_the_past_counts_for_nothing_until_the_rest_is_there(catalog: Catalog, campus: Peer) -> None:
    honest = campus.each(*(ingested(campus.store, f"raw/{n}") for n in range(3)))
    await catalog.write(say_of_roster, word("revoked", honest[-1]))
    got = await receive(catalog, honest[0], honest[1], honest[0])
    assert [(result.verdict, result.applied) for result in got] == [("aside", 0)] * 3
    assert "is not here" in got[0].stalled
    assert (await believed(catalog))[0] == set()
    (last,) = await receive(catalog, honest[2])
    assert last.stalled == ""
    assert (await believed(catalog))[0] == HONEST


async def test_no_more_is_kept_than_the_past_can_have(
    catalog: Catalog, campus: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "MAX_HELD", 2)
    honest = campus.each(*(ingested(campus.store, f"raw/{n}") for n in range(3)))
    await catalog.write(say_of_roster, word("revoked", honest[-1]))
    got = await receive(catalog, *(s for n in range(7) for s in thief(100 + n).say(ingested(campus.store, f"lie/{n}"))))
    assert [result.full for result in got] == [False] * 5 + [True] * 2


async def test_all_ends_that_are_named_are_believed_and_a_branch_that_is_not_named_is_not(
    catalog: Catalog, campus: Peer
) -> None:
    """Its catalog was restored twice: two branches are honest, the third is the thief's."""
    honest = await said(catalog, campus)
    branches = [thief(epoch, after=honest[0]) for epoch in (2, 3, 4)]
    found = [by.say(ingested(campus.store, f"branch/{by.position.epoch}"))[0] for by in branches]
    await receive(catalog, *found)
    await catalog.write(say_of_roster, word("revoked", honest[-1], *found[:2]))
    assert (await believed(catalog))[0] == {*HONEST, "branch/2", "branch/3"}


async def test_a_segment_signed_anew_by_the_thief_does_not_keep_the_true_one_out(
    catalog: Catalog, campus: Peer
) -> None:
    """He signs what the site said with its new key with the old one, and is heard first."""
    honest = campus.each(*(ingested(campus.store, f"raw/{n}") for n in range(2)))
    await catalog.write(say_of_roster, word("readmitted", honest[-1]))
    anew = Peer("campus", epoch=5)
    anew.key = key_of(NEW)
    true = anew.say(ingested(campus.store, "new/0"))[0]
    false = msgspec.structs.replace(thief().seal(true.segment, true.payload))
    got = await receive(catalog, false, true)
    assert [result.verdict for result in got] == ["aside", "apply"]
    await receive(catalog, *honest)
    assert (await believed(catalog))[0] == {"raw/0", "raw/1", "new/0"}
    assert (await verify_journal(catalog, CAMPUS, None)).problems == []


@pytest.mark.parametrize("named", [False, True], ids=["its branch is not named", "its branch is named"])
async def test_a_key_that_the_site_went_over_from_begins_no_journal_anew(
    catalog: Catalog, campus: Peer, named: bool
) -> None:
    honest = await said(catalog, campus)
    restored = thief(2, after=honest[1])
    branch = restored.say(ingested(campus.store, "branch"))[0]
    await receive(catalog, branch)
    over = campus.say(SiteRekeyed(key=key_of(NEW).public, tips=[tip(branch)] if named else []))
    campus.key = key_of(NEW)
    after = campus.say(ingested(campus.store, "after"))
    await receive(catalog, *over, *after)
    got = await receive(catalog, *lies(thief(epoch=0), honest[0]), *lies(thief(), honest[0]))
    assert {result.verdict for result in got} == {"ended"}
    names, whole, _ = await believed(catalog)
    assert whole
    assert names == {*HONEST, "after"} | ({"branch"} if named else set())
    early = msgspec.structs.replace(campus.seal(honest[0].segment, honest[0].payload))
    assert (await receive(catalog, early))[0].verdict == "ignore", "early ones signed anew are known already"
    first = Peer("campus", epoch=0)
    first.key = key_of(NEW)
    with pytest.raises(SignatureInvalid):
        await receive(catalog, *first.say(ingested(campus.store, "too early for the new key")))


async def test_what_an_earlier_version_believed_is_folded_anew_at_the_first_start(
    catalog: Catalog, campus: Peer
) -> None:
    """The rows stand as that version left them: no signer, and the thief's segments applied."""
    honest = await said(catalog, campus)
    await receive(catalog, *lies(thief(), honest[0]))

    def as_before(tx: Tx) -> None:
        tx.append(word("revoked", honest[-1], old_form=True))  # and nobody looked at it
        tx.connection.execute(update(schema.journal).values(key=""))
        put_meta(tx.connection, "refold", "1")

    await catalog.write(as_before)
    assert (await believed(catalog))[1:] == (False, False), "revoked, and still its removal is believed"
    await catalog.write(segments.apply_upgraded)
    assert await believed(catalog) == (HONEST, True, False)
    assert (await verify_journal(catalog, CAMPUS, None)).problems == []
    keys = {row.key for row in await catalog.read(rows, schema.journal)}
    assert keys == {key_of("campus").public, key_of(SITE).public}


async def test_a_replay_leaves_out_the_same_and_finds_nothing_wrong(
    catalog: Catalog, elsewhere: Database, campus: Peer
) -> None:
    honest = await said(catalog, campus)
    await receive(catalog, *lies(thief(), honest[0]))
    await catalog.write(say_of_roster, word("readmitted", honest[-1]))
    anew = Peer("campus", epoch=5)
    anew.key = key_of(NEW)
    await receive(catalog, *anew.say(ingested(campus.store, "new/0")))
    anchor = await catalog.read(get_anchor)
    assert anchor is not None
    record, _ = await catalog.read(replay.records, BEGINNING, 1000, 1000)
    for order in (record, record[::-1]):
        await elsewhere.write(_emptied_all)
        await elsewhere.write(lambda connection: replay.begin(connection, anchor, []))
        assert await elsewhere.write(partial(replay.take, page=order, at="now")) == []
        assert await elsewhere.write(partial(replay.fold, site=SITE, at="now")) == []
        assert await elsewhere.read(shared) == await catalog.read(shared)


def _emptied_all(connection: object) -> None:
    for table in reversed(schema.metadata.sorted_tables):
        connection.execute(table.delete())  # type: ignore[attr-defined]  # a Connection


async def test_what_was_said_in_the_same_group_survives_a_refold(catalog: Catalog) -> None:
    """It does not stand in the journal yet when what this site said is applied anew."""

    def work(tx: Tx) -> None:
        tx.append(ingested("ab" * 16, "raw/own"))
        refold(tx, SITE)

    await catalog.write(work)
    instances = await catalog.read(rows, schema.instance, schema.instance.c.site == str(SITE))
    files = await catalog.read(rows, schema.file)
    assert [(row.name, row.origin_site) for row in files] == [("raw/own", str(SITE))]
    assert len(instances) == 1


async def test_a_journal_that_is_judged_anew_is_judged_by_the_same_rules_of_its_chain(
    catalog: Catalog, campus: Peer
) -> None:
    """A segment that does not continue what it names, or begins with an epoch beyond all bounds, stays void."""
    honest = await said(catalog, campus)
    broken = thief(2, after=honest[0])
    broken.position = msgspec.structs.replace(broken.position, seq=7)
    beyond = Peer("campus", epoch=1 << 40)
    got = await receive(
        catalog, *broken.say(ingested(campus.store, "lie/0")), *beyond.say(ingested(campus.store, "lie/1"))
    )
    assert [result.verdict for result in got] == ["broken", "broken"]

    def work(tx: Tx) -> None:
        refold(tx, CAMPUS)

    await catalog.write(work)
    assert (await believed(catalog))[0] == HONEST


# ---- what a person says ----------------------------------------------------------------------------------


async def _revoke(catalog: Catalog, cutoffs: Sequence[tuple[str, int]] = ()) -> SiteRevoked:
    def work(tx: Tx) -> SiteRevoked:
        entry = endings.revoked(tx, known_members(tx.connection)[CAMPUS], "break-in", cutoffs)
        say_of_roster(tx, entry)
        return entry

    return await catalog.write(work)


async def _readmit(catalog: Catalog, key: str | None = None, cutoffs: Sequence[tuple[str, int]] = ()) -> SiteAdmitted:
    def work(tx: Tx) -> SiteAdmitted:
        entry = endings.readmitted(tx, known_members(tx.connection)[CAMPUS], key, cutoffs)
        say_of_roster(tx, entry)
        return entry

    return await catalog.write(work)


async def test_a_revocation_names_all_ends_that_count_here(catalog: Catalog, campus: Peer) -> None:
    honest = await said(catalog, campus)
    branch = thief(2, after=honest[0]).say(ingested(campus.store, "branch"))[0]
    await receive(catalog, branch)
    entry = await _revoke(catalog)
    assert {end.hash for end in ends_of(entry) or ()} == {honest[-1].hash, branch.hash}
    late = campus.say(ingested(campus.store, "late"))
    assert (await receive(catalog, *late))[0].verdict == "ended"
    again = await _revoke(catalog, [(honest[0].segment.incarnation, 1)])
    assert again.tips == [tip(honest[0])]
    assert (await believed(catalog))[0] == {"raw/0"}
    with pytest.raises(NotFound):
        await _revoke(catalog, [("f" * 16, 1)])


async def test_a_readmission_with_another_key_ends_the_former_one_and_voids_its_bus_keys(
    catalog: Catalog, campus: Peer
) -> None:
    honest = await said(catalog, campus)
    before = admission("campus", may_admit=True)
    bus = ["U" + "A" * 55, "U" + "B" * 55]
    await catalog.write(say_of_roster, msgspec.structs.replace(before, bus=bus))
    entry = await _readmit(catalog, key_of(NEW).public)
    assert (entry.former, entry.tips, entry.bus, entry.leaf) == ([key_of("campus").public], [tip(honest[-1])], [], None)
    with pytest.raises(ArgumentInvalid, match="former key"):
        await _readmit(catalog, key_of("campus").public)
    again = await _readmit(catalog)
    assert (again.former, again.tips) == (entry.former, entry.tips), "said again, nothing is forgotten"


async def test_a_readmission_under_the_same_key_ends_nothing_and_keeps_what_it_may_read(
    catalog: Catalog, campus: Peer
) -> None:
    await catalog.write(say_of_roster, msgspec.structs.replace(admission("campus"), access=Access.CALLBACK))
    honest = campus.each(ingested(campus.store, "raw/0"))
    await receive(catalog, *honest)
    with pytest.raises(ArgumentInvalid, match="same key"):
        await _readmit(catalog, None, [(honest[0].segment.incarnation, 1)])
    await _revoke(catalog)
    entry = await _readmit(catalog)
    assert (entry.former, entry.tips, entry.access) == ([], None, "callback")


@pytest.mark.parametrize("rekeyed", [True, False], ids=["after a rekey", "after a theft"])
async def test_one_readmission_mends_what_an_admission_by_token_forgot(
    catalog: Catalog, campus: Peer, rekeyed: bool
) -> None:
    """The wound of an earlier version: a bare admission, as of a new site, of one that had other keys before."""
    honest = await said(catalog, campus)
    new = key_of(NEW)
    if rekeyed:
        await receive(catalog, *campus.say(SiteRekeyed(key=new.public)))
    else:
        await receive(catalog, *lies(thief(after=honest[-1]), honest[0]))
        await catalog.write(say_of_roster, word("revoked", honest[-1], old_form=True))
        await catalog.write(say_of_roster, word("readmitted", honest[-1], old_form=True))
    await catalog.write(say_of_roster, admission("campus", key=new))
    names, _, _ = await believed(catalog)
    assert names == set(), "its former key is forgotten"
    assert (await verify_journal(catalog, CAMPUS, None)).problems
    lost = await catalog.write(lambda tx: endings.forgotten(tx, known_members(tx.connection)[CAMPUS]))
    assert lost.keys == [key_of("campus").public]
    await _readmit(catalog)
    assert await believed(catalog) == (HONEST, True, False)
    assert (await verify_journal(catalog, CAMPUS, None)).problems == []
    assert (await catalog.write(lambda tx: endings.forgotten(tx, known_members(tx.connection)[CAMPUS]))).keys == []


async def test_where_nobody_said_where_a_forgotten_key_ended_a_cutoff_is_asked_for(
    catalog: Catalog, campus: Peer
) -> None:
    honest = await said(catalog, campus)
    await catalog.write(say_of_roster, admission("campus", key=key_of(NEW)))
    with pytest.raises(ArgumentInvalid, match="nobody said where they end"):
        await _readmit(catalog)
    await _readmit(catalog, None, [(honest[1].segment.incarnation, 2)])
    assert (await believed(catalog))[0] == {"raw/0", "raw/1"}
