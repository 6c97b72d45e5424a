"""Taking other sites' segments: in order, once, and never what their chain or the roster does not bear out."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, update
from tests.conformance.catalog.peers import Peer, Sealed, ingested, registered, withdrawn
from tests.conformance.catalog.running import admit, count, looked_at, receive, rows, say, tried

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.journal import heads, record, segments
from librarian_daemon.catalog.journal.segments import Received
from librarian_daemon.catalog.status import queries
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.transfers import planning
from librarian_protocol import wire
from librarian_protocol.digests import Digest
from librarian_protocol.entries import DigestAdded
from librarian_protocol.errors import CatalogFault, InputError, NotAdmitted
from librarian_protocol.heads import Tip
from librarian_protocol.segment_verdict import Verdict
from librarian_protocol.segments import _ENTRY  # pyright: ignore[reportPrivateUsage]


async def _peer(catalog: Catalog, **admission: Any) -> Peer:
    peer = Peer("summit")
    await admit(catalog, peer, **admission)
    return peer


def _segments_of(peer: Peer, count: int, first: int = 0) -> list[Sealed]:
    return peer.each(*(ingested(peer.store, f"raw/{n}") for n in range(first, first + count)))


async def _names(catalog: Catalog) -> list[str]:
    return sorted(row.name for row in await catalog.read(rows, schema.file))


async def _states(catalog: Catalog) -> list[str]:
    return [row.state for row in await catalog.read(rows, schema.journal, schema.journal.c.site == "summit")]


async def _stalled(catalog: Catalog) -> str:
    return (await catalog.read(queries.readings))["summit"][1]


async def test_what_comes_in_order_is_applied_at_once(catalog: Catalog) -> None:
    peer = await _peer(catalog)
    received = await receive(catalog, *_segments_of(peer, 3), stream_seq=7)
    assert received == [Received(verdict=Verdict.APPLY, applied=1)] * 3
    assert await _names(catalog) == ["raw/0", "raw/1", "raw/2"]
    assert await catalog.read(segments.read_after, peer.site) == 9
    assert await catalog.read(queries.heads) == {"archive": 1, "summit": 3}


async def test_an_end_that_hangs_behind_a_gap_is_missing_like_one_that_is_not_here(catalog: Catalog) -> None:
    """Else nobody would ask for what is between."""
    peer = await _peer(catalog)
    first, between, last = _segments_of(peer, 3)
    await receive(catalog, first, last)
    told = [Tip(site=peer.site, epoch=1, incarnation=last.segment.incarnation, seq=3, hash=last.hash)]
    await catalog.write(heads.heard, peer.site, told)
    (missing,) = await catalog.read(heads.missing)
    assert (missing.origin, missing.seq, missing.peers) == (peer.site, 3, [peer.site])
    await receive(catalog, between)
    assert await catalog.read(heads.missing) == []


async def test_duplicates_change_nothing_but_the_reading_cursor(catalog: Catalog) -> None:
    """However late and however often: the bus repeats what it likes."""
    peer = await _peer(catalog)
    sent = _segments_of(peer, 3)
    await receive(catalog, *sent)
    before = await catalog.read(rows, schema.file)
    received = await receive(catalog, *sent, *sent, stream_seq=10)
    assert {result.verdict for result in received} == {Verdict.IGNORE}
    assert await catalog.read(rows, schema.file) == before
    assert len(await _states(catalog)) == 3
    assert await catalog.read(segments.read_after, peer.site) == 15


async def test_what_lies_beyond_a_gap_is_held_and_applied_in_order_once_the_gap_is_filled(catalog: Catalog) -> None:
    peer = await _peer(catalog)
    sent = _segments_of(peer, 5)
    received = await receive(catalog, sent[0], sent[4], sent[2], sent[3])
    assert [result.verdict for result in received] == ["apply", "hold", "hold", "hold"]
    assert await _names(catalog) == ["raw/0"]
    assert await _states(catalog) == ["applied", "held", "held", "held"]
    assert await _stalled(catalog) == "gap before entry 3"
    assert await catalog.read(queries.heads) == {"archive": 1, "summit": 1}
    assert await receive(catalog, sent[1]) == [Received(verdict=Verdict.APPLY, applied=4)]
    assert await _names(catalog) == [f"raw/{n}" for n in range(5)]
    assert set(await _states(catalog)) == {"applied"}
    assert await _stalled(catalog) == ""
    assert await catalog.read(queries.heads) == {"archive": 1, "summit": 5}


async def test_a_stalled_journal_is_shown_as_stalled_until_it_goes_on(catalog: Catalog) -> None:
    """Duplicates and refused messages come in between; the gap is there all the same."""
    peer = await _peer(catalog)
    sent = _segments_of(peer, 3)
    await receive(catalog, sent[0], sent[2])
    await receive(catalog, sent[0], sent[2])
    assert await _stalled(catalog) == "gap before entry 3"
    await catalog.write(segments.note_reading, peer.site, 9, "")
    assert await _stalled(catalog) == "gap before entry 3"
    await receive(catalog, sent[1])
    assert await _stalled(catalog) == ""


async def test_no_more_than_a_limit_is_held_beyond_a_gap(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is not kept, and the reading cursor stays: it will be read again."""
    monkeypatch.setattr(segments, "MAX_HELD", 2)
    peer = await _peer(catalog)
    sent = _segments_of(peer, 5)
    received = await receive(catalog, *sent[1:])
    assert [result.verdict for result in received] == [Verdict.HOLD] * 4
    assert "2 segments held" in received[3].stalled
    assert await _states(catalog) == ["held", "held"]
    assert await catalog.read(segments.read_after, peer.site) == 2
    await receive(catalog, *sent)
    assert len(await _names(catalog)) == 5


async def test_a_segment_that_does_not_continue_the_one_it_names_is_only_kept_as_proof(
    catalog: Catalog,
) -> None:
    peer = await _peer(catalog)
    sent = _segments_of(peer, 2)
    await receive(catalog, *sent)
    peer.position = msgspec.structs.replace(peer.position, seq=7)
    assert (await receive(catalog, *_segments_of(peer, 1, 9)))[0].verdict is Verdict.BROKEN
    assert await _names(catalog) == ["raw/0", "raw/1"]
    assert await _states(catalog) == ["applied", "applied", "void"]
    assert "does not continue" in await _stalled(catalog)


async def test_an_epoch_that_does_not_grow_with_the_incarnation_is_not_believed(catalog: Catalog) -> None:
    peer = await _peer(catalog)
    await receive(catalog, *_segments_of(peer, 1))
    peer.position = msgspec.structs.replace(peer.position, incarnation="f" * 16)
    assert (await receive(catalog, *_segments_of(peer, 1, 1)))[0].verdict is Verdict.BROKEN
    assert await _names(catalog) == ["raw/0"]


async def test_a_new_incarnation_continues_the_journal(catalog: Catalog) -> None:
    """A restart of the other site's daemon; also where its first segment comes before the last of the old one."""
    peer = await _peer(catalog)
    sent = _segments_of(peer, 2)
    peer.restart()
    sent += _segments_of(peer, 2, 2)
    await receive(catalog, sent[0], sent[2], sent[3], sent[1])
    assert await _names(catalog) == [f"raw/{n}" for n in range(4)]
    cursors = await catalog.read(rows, schema.cursor)
    assert sorted((row.epoch, row.seq) for row in cursors if row.site == "summit") == [(1, 2), (2, 4)]
    assert await catalog.read(queries.heads) == {"archive": 1, "summit": 4}


# ---- equivocation ------------------------------------------------------------------------------------------


def _second_tongue(peer: Peer) -> Peer:
    """The same site, that goes on from here saying something else."""
    other = Peer("summit")
    other.position = peer.position
    return other


async def test_two_segments_for_one_place_end_belief_in_that_incarnation(catalog: Catalog) -> None:
    """Both are kept as proof; from there on nothing more of it is applied, neither branch."""
    peer = await _peer(catalog)
    sent = _segments_of(peer, 1)
    other = _second_tongue(peer)
    truth, lie = _segments_of(peer, 1, 1), _segments_of(other, 1, 8)
    received = await receive(catalog, *sent, *truth, *lie, *_segments_of(peer, 1, 2))
    assert [result.verdict for result in received] == ["apply", "apply", "equivocation", "hold"]
    assert await _names(catalog) == ["raw/0"], "neither story counts"
    assert await _states(catalog) == ["applied", "void", "void", "held"]
    assert await _stalled(catalog) == f"two segments signed for entry 2 of incarnation {peer.position.incarnation}"
    await receive(catalog, *truth, *lie)
    assert len(await _states(catalog)) == 4
    assert "two segments signed" in await _stalled(catalog)


async def test_an_equivocation_beyond_a_gap_is_found_before_any_branch_is_applied(catalog: Catalog) -> None:
    peer = await _peer(catalog)
    sent = _segments_of(peer, 1)
    other = _second_tongue(peer)
    received = await receive(catalog, *_segments_of(peer, 1, 1), *_segments_of(other, 1, 8), *sent)
    assert [result.verdict for result in received] == ["hold", "equivocation", "apply"]
    assert await _names(catalog) == ["raw/0"]


async def test_a_new_incarnation_on_top_of_an_equivocation_is_not_applied(catalog: Catalog) -> None:
    """Starting again does not wash it off: all that builds on it is void too."""
    peer = await _peer(catalog)
    other = _second_tongue(peer)
    await receive(catalog, *_segments_of(peer, 1), *_segments_of(other, 1, 8), *_segments_of(peer, 1, 1))
    for branch in (peer, other):
        branch.restart()
        branch.position = msgspec.structs.replace(branch.position, incarnation=branch.store[:16])
    received = await receive(catalog, *_segments_of(peer, 1, 2), *_segments_of(other, 1, 9))
    assert {result.verdict for result in received} <= {Verdict.HOLD, Verdict.EQUIVOCATION}
    assert await _names(catalog) == []


async def test_one_number_in_two_segments_is_an_equivocation_wherever_they_begin(catalog: Catalog) -> None:
    """One incarnation that begins twice, from two ends of the journal before it: the ranges overlap, no more."""
    peer = await _peer(catalog)
    sent = _segments_of(peer, 1)
    early = _second_tongue(peer)
    sent += _segments_of(peer, 1, 1)
    peer.restart()
    early.restart()
    long = early.say(*(ingested(early.store, f"early/{n}") for n in range(3)))
    received = await receive(catalog, *sent, *long, *_segments_of(peer, 1, 5))
    assert [result.verdict for result in received] == ["apply", "apply", "apply", "equivocation"]
    assert "raw/5" not in await _names(catalog)


# ---- what stands inside ------------------------------------------------------------------------------------


@pytest.mark.fault(51)
async def test_a_kind_of_a_later_version_is_kept_raw_and_does_not_stop_the_journal(catalog: Catalog) -> None:
    peer = await _peer(catalog)
    news = peer.say_raw("moon.phased", {"phase": "full"})
    received = await receive(catalog, news, *_segments_of(peer, 1))
    assert received == [Received(verdict=Verdict.APPLY), Received(verdict=Verdict.APPLY, applied=1)]
    assert await _states(catalog) == ["unknown", "applied"]
    assert (await catalog.read(record.segments_after, 0, site="summit", limit=1))[0][4] == news.payload
    assert await catalog.write(segments.apply_unknown) == 0
    assert await catalog.read(queries.heads) == {"archive": 1, "summit": 2}


@pytest.mark.fault(51)
async def test_kinds_that_an_upgrade_brought_are_applied_then(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In any number, and beside what is still not known; a later state that came before stays the later one."""
    peer = await _peer(catalog)
    with monkeypatch.context() as older:
        older.delitem(_ENTRY, "file.ingested")
        sent = _segments_of(peer, 120)
        await receive(catalog, *sent, peer.say_raw("moon.phased", {"phase": "full"}))
        assert set(await _states(catalog)) == {"unknown"}
        assert await _names(catalog) == []
    applied = []
    while done := await catalog.write(segments.apply_unknown):
        applied.append(done)
    assert applied == [100, 20]
    assert len(await _names(catalog)) == 120
    assert (await _states(catalog)).count("unknown") == 1


async def test_upgraded_segments_without_a_good_entry_do_not_end_the_upgrade(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon calls until there is nothing left: refused entries must not look like nothing left."""
    peer = await _peer(catalog, grants=("calib/**",))
    with monkeypatch.context() as older:
        older.delitem(_ENTRY, "file.ingested")
        await receive(catalog, *_segments_of(peer, 101), *peer.say(ingested(peer.store, "calib/good")))
    while await catalog.write(segments.apply_unknown):
        pass
    assert await _names(catalog) == ["calib/good"]
    assert set(await _states(catalog)) == {"applied"}


async def test_entries_that_break_a_rule_are_refused_one_by_one(catalog: Catalog) -> None:
    """A name with `..` is never applied, by anybody; what stands beside it is."""
    peer = await _peer(catalog)
    good = json.loads(wire.encode(ingested(peer.store, "raw/good")))
    bad = [{**good, "name": name} for name in ("../../etc/passwd", "/etc/passwd", ".librarian/marker", "a\nb", "")]
    bad += [{**good, "digest": "md5:" + "0" * 32}, {**good, "size_bytes": 2**63}, {**good, "size_bytes": -1}]
    strip = [{key: value for key, value in result.items() if key not in {"seq", "at"}} for result in (*bad, good)]
    received = (await receive(catalog, peer.say_raw("file.ingested", *strip)))[0]
    assert (received.verdict, received.applied, len(received.refused)) == (Verdict.APPLY, 1, len(bad))
    assert "'..'" in received.refused[0]
    assert await _names(catalog) == ["raw/good"]
    assert await catalog.read(queries.heads) == {"archive": 1, "summit": len(bad) + 1}


async def test_ingests_outside_a_sites_grants_are_kept_and_not_applied(catalog: Catalog) -> None:
    """Grants bound who may name files; they do not stop the journal, nor callbacks about others' files."""
    peer = await _peer(catalog, grants=("calib/**", "raw/summit-*"))
    sent = peer.say(*(ingested(peer.store, name) for name in ("calib/a/b", "raw/other", "raw/summit-1")))
    received = await receive(catalog, *sent, *peer.say(registered(peer.store, "raw/archive-1")))
    assert [result.applied for result in received] == [2, 1]
    assert "outside its grants" in received[0].refused[0]
    assert await _names(catalog) == ["calib/a/b", "raw/archive-1", "raw/summit-1"]
    assert await _states(catalog) == ["applied", "applied"]


async def test_only_a_site_that_may_admit_withdraws_files(catalog: Catalog) -> None:
    """Withdrawing is final and holds everywhere: it is an administrator's word."""
    summit, campus = Peer("summit"), Peer("campus")
    await admit(catalog, summit)
    await admit(catalog, campus, may_admit=True)
    await receive(catalog, *summit.say(ingested(summit.store)))
    refused = (await receive(catalog, *summit.say(withdrawn())))[0].refused
    assert "administrator" in refused[0]
    assert not (await catalog.read(rows, schema.file))[0].withdrawn
    assert (await receive(catalog, *campus.say(withdrawn())))[0].refused == []
    assert (await catalog.read(rows, schema.file))[0].withdrawn


async def test_a_site_that_is_in_no_roster_says_nothing(catalog: Catalog) -> None:
    peer = Peer("stranger")
    with pytest.raises(NotAdmitted):
        await receive(catalog, *peer.say(ingested(peer.store)))
    assert await catalog.read(count, schema.file) == 0
    assert await catalog.read(count, schema.journal, schema.journal.c.site == peer.site) == 0


async def test_many_entries_of_many_kinds_come_whole(catalog: Catalog) -> None:
    """More than one statement's worth, names of one file many times."""
    peer = await _peer(catalog)
    entries = [ingested(peer.store, f"raw/{n}", size_bytes=n) for n in range(1200)]
    entries += [ingested(peer.store, "raw/0", size_bytes=5) for _ in range(3)]
    md5 = Digest.parse("md5:" + "1" * 32)
    others = [
        DigestAdded(name=entry.name, digest=entry.digest, size_bytes=entry.size_bytes, unit=entry.unit, other=md5)
        for entry in entries
    ]
    received = await receive(catalog, *peer.say(*entries), *peer.say(*others))
    assert sum(result.applied for result in received) == 2 * len(entries)
    assert await catalog.read(count, schema.file) == 1200
    assert await catalog.read(count, schema.digest) == 1200
    assert await catalog.read(count, schema.instance) == 1200


# ---- one transaction ---------------------------------------------------------------------------------------


async def test_cursors_and_tables_change_in_one_transaction(catalog: Catalog) -> None:
    """If what arrived is not committed, the cursor is not either: it will be read again."""
    peer = await _peer(catalog)
    sent = _segments_of(peer, 2)
    await receive(catalog, sent[0], stream_seq=3)

    def look(tx: Tx) -> tuple[int, dict[str, int], int]:
        segments.receive(tx, sent[1].signed(), 4)
        connection: Connection = tx.connection
        after = segments.read_after(connection, peer.site)
        return after, queries.heads(connection), count(connection, schema.file)

    assert await tried(catalog, look) == (4, {"archive": 1, "summit": 2}, 2)
    assert await catalog.read(segments.read_after, peer.site) == 3
    assert await catalog.read(queries.heads) == {"archive": 1, "summit": 1}
    assert await catalog.read(count, schema.file) == 1
    assert (await receive(catalog, sent[1], stream_seq=4))[0].applied == 1


async def test_what_is_received_wakes_the_planner_for_its_files(catalog: Catalog) -> None:
    peer = await _peer(catalog)
    await receive(catalog, *_segments_of(peer, 2))
    seen = await catalog.read(planning.changed_files, 10, ["**"])
    assert [name for name, _ in looked_at(seen).values()] == ["raw/0", "raw/1"]


async def test_a_stored_segment_that_is_damaged_is_a_catalog_fault(catalog: Catalog) -> None:
    """Whatever byte of it: no other exception, and no memory beyond a segment's."""
    peer = await _peer(catalog)
    await receive(catalog, *_segments_of(peer, 1))
    stored: bytes = (await catalog.read(rows, schema.journal, schema.journal.c.site == "summit"))[0].payload

    def damaged(tx: Tx) -> int:
        faults = 0
        for at in range(min(len(stored), 24)):
            for flip in (0x01, 0x80, 0xFF):
                spoilt = stored[:at] + bytes([stored[at] ^ flip]) + stored[at + 1 :]
                tx.connection.execute(update(schema.journal).values(payload=spoilt))
                try:
                    record.segments_after(tx.connection, 0, site="summit", limit=1)
                except CatalogFault:
                    faults += 1
        return faults

    assert await tried(catalog, damaged) > 10


async def test_own_and_foreign_units_share_groups(catalog: Catalog) -> None:
    """A refused unit between them takes nothing of theirs with it."""
    peer = await _peer(catalog)
    sent = _segments_of(peer, 3)

    def refused(tx: Tx) -> None:
        segments.receive(tx, sent[2].signed(), 9)
        raise InputError("not this one")

    await receive(catalog, *sent[:2])
    with pytest.raises(InputError):
        await catalog.write(refused)
    await say(catalog, ingested("0" * 32, "own"))
    assert await _names(catalog) == ["own", "raw/0", "raw/1"]
    assert await catalog.read(segments.read_after, peer.site) == 2
