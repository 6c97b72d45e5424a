"""Recovery quarantine: what it waits for, and that nothing is vouched for meanwhile."""

from __future__ import annotations

import msgspec
from tests.unit.protocol.samples import ARCHIVE, AT, CAMPUS, SUMMIT
from tests.unit.protocol.test_roster import member

from librarian_protocol.entries import Access
from librarian_protocol.quarantine import COMPARING, Recovery, at_start, awaited, begin, may_vouch, waits_for, with_twin

MEMBERS = {
    SUMMIT: member(SUMMIT),
    ARCHIVE: member(ARCHIVE),
    CAMPUS: msgspec.structs.replace(member(CAMPUS), access=Access.CALLBACK.value),
}


def test_nothing_is_vouched_for_until_it_is_over() -> None:
    assert may_vouch(None)
    assert not may_vouch(begin(None, "old catalog", AT))


def test_it_waits_for_every_site_that_holds_journals_and_was_not_revoked() -> None:
    recovery = begin(None, "old catalog", AT)
    assert awaited(recovery, SUMMIT, MEMBERS) == [ARCHIVE]
    gone = {**MEMBERS, ARCHIVE: msgspec.structs.replace(MEMBERS[ARCHIVE], revoked=True)}
    assert awaited(recovery, SUMMIT, gone) == []
    heard = msgspec.structs.replace(recovery, heard=frozenset({ARCHIVE}))
    assert awaited(heard, SUMMIT, MEMBERS) == []


def test_names_are_compared_last_and_then_it_is_over() -> None:
    recovery = begin(None, "old catalog", AT)
    assert waits_for(recovery, SUMMIT, MEMBERS, ["x"]) == [
        "archive has not told what it holds",
        "1 journal ends are at others and not here yet",
    ]
    heard = msgspec.structs.replace(recovery, heard=frozenset({ARCHIVE}))
    assert waits_for(heard, SUMMIT, MEMBERS, []) == [COMPARING]
    assert waits_for(msgspec.structs.replace(heard, compared=True), SUMMIT, MEMBERS, []) == []


def test_a_site_that_lost_its_mesh_must_be_told_of_it() -> None:
    (said,) = waits_for(begin(None, "lost", AT), SUMMIT, {}, [])
    assert "lbctl site join" in said


def test_what_turns_up_later_has_names_compared_once_more_and_keeps_what_was_heard() -> None:
    known = Recovery(since=AT, reasons=("a",), heard=frozenset({ARCHIVE}), compared=True)
    again = begin(known, "b", "later")
    assert (again.since, again.reasons, again.heard, again.compared) == (AT, ("a", "b"), frozenset({ARCHIVE}), False)
    assert begin(again, "b", "later").reasons == ("a", "b")


def test_of_a_site_that_is_not_heard_it_says_what_a_person_can_do() -> None:
    (said,) = waits_for(begin(None, "old catalog", AT), SUMMIT, MEMBERS, [], {ARCHIVE: "silent"})
    assert said.startswith("archive has not told what it holds")
    assert "`lbctl site revoke archive --reason WHY`" in said


def test_with_a_twin_nothing_goes_on_until_a_restart_and_then_all_is_heard_once_more() -> None:
    twin = with_twin(None, "ab" * 8, AT)
    assert not may_vouch(twin)
    (said,) = waits_for(twin, SUMMIT, MEMBERS, [])
    assert "stop it for good, then restart this one" in said
    known = Recovery(since=AT, reasons=("a",), heard=frozenset({ARCHIVE}), compared=True)
    assert at_start(known, AT) == known
    again = at_start(with_twin(known, "ab" * 8, AT), AT)
    assert (again.twin, again.heard, again.compared) == ("", frozenset(), False)
    assert again.reasons == ("a", "another daemon had run as this site")
