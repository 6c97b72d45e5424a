"""When a candidate counts as complete."""

from __future__ import annotations

from typing import Any

from librarian_daemon.config.settings import IntakeSettings
from librarian_daemon.intake.candidates import Candidates, Item
from librarian_daemon.intake.directory.scanner import Candidate, Fingerprint, Kind, Scanner
from librarian_daemon.intake.directory.watcher import Arrival
from librarian_protocol.dropped import PATIENCE, Reason

LOOK: Fingerprint = (1, 2, 3, 4, 5)
CHANGED: Fingerprint = (1, 2, 3, 4, 6)
UNIX_S = 1_700_000_000


def waiting(most: int = 10, **changed: Any) -> Candidates:
    return Candidates(IntakeSettings(path="/drop", store="s", quiet_s=5.0, **changed), most)


def found(rel: bytes = b"x", look: Fingerprint = LOOK, kind: Kind = Kind.FILE, age_s: float = 0.0) -> Candidate:
    return Candidate(rel, kind, 1, look, int((UNIX_S - age_s) * 1e9))


def judge(
    candidates: Candidates, candidate: Candidate, now_s: float, arrival: Arrival = Arrival.SEEN, *, marked: bool = False
) -> bool:
    return candidates.judge(candidate, arrival=arrival, marked=marked, now_s=now_s, unix_s=UNIX_S)


def reasons(candidates: Candidates) -> list[tuple[bytes, Reason]]:
    return [(item.rel, item.reason) for item in candidates.items(5)]


def test_two_equal_looks_so_far_apart_are_quiet() -> None:
    candidates = waiting()
    assert [judge(candidates, found(), now_s) for now_s in (0.0, 4.9, 5.0)] == [False, False, True]


def test_a_change_begins_the_wait_anew() -> None:
    candidates = waiting()
    assert not judge(candidates, found(), 0.0)
    assert not judge(candidates, found(look=CHANGED), 4.0)
    assert not judge(candidates, found(look=CHANGED), 6.0)
    assert judge(candidates, found(look=CHANGED), 9.0)


def test_what_was_renamed_into_place_is_complete_at_once() -> None:
    assert judge(waiting(), found(), 0.0, Arrival.MOVED)
    assert judge(waiting(complete="rename"), found(), 0.0)


def test_a_book_waits_for_its_marker_however_quiet() -> None:
    candidates = waiting(unit="book", complete="marker")
    book = found(kind=Kind.BOOK)
    assert not judge(candidates, book, 0.0, Arrival.MOVED)
    assert not judge(candidates, book, 100.0)
    assert reasons(candidates) == [(b"x", Reason.NO_MARKER)]
    assert candidates.due(1000.0) == []
    assert judge(candidates, book, 100.0, marked=True)


def test_what_was_put_back_is_left_alone_for_a_while_whatever_the_mode() -> None:
    for candidates in (waiting(), waiting(complete="rename"), waiting(unit="book", complete="marker")):
        candidates.returned(b"x", Reason.STILL_WRITTEN, 10.0)
        assert reasons(candidates) == [(b"x", Reason.STILL_WRITTEN)]
        assert not judge(candidates, found(kind=Kind.BOOK), 12.0, Arrival.MOVED, marked=True)
        assert judge(candidates, found(kind=Kind.BOOK), 15.0, Arrival.MOVED, marked=True)


def test_beyond_its_bound_the_times_on_disk_decide() -> None:
    candidates = waiting(most=2)
    for rel in (b"a", b"b"):
        assert not judge(candidates, found(rel), 0.0)
    assert judge(candidates, found(b"c", age_s=6.0), 0.0)
    assert not judge(candidates, found(b"d", age_s=1.0), 0.0)
    assert len(candidates) == 3
    assert {reason for _, reason in reasons(candidates)} == {Reason.NOT_QUIET}
    assert candidates.by_reason() == {"not-quiet-yet": 2}


def test_it_says_when_to_look_again() -> None:
    candidates = waiting()
    assert candidates.next_due_s(0.0) is None
    judge(candidates, found(b"a"), 0.0)
    judge(candidates, found(b"b"), 2.0)
    assert candidates.next_due_s(3.0) == 2.0
    assert candidates.due(5.0) == [b"a"]
    candidates.forget(b"a")
    assert candidates.due(5.0) == []


def test_a_quiet_book_with_a_tools_temporary_name_in_it_waits_and_says_which() -> None:
    candidates = waiting(unit="book")
    holds = Candidate(b"bk", Kind.BOOK, 1, LOOK, 0, newest=b"f2.fits", holds=b".f3.fits.klTaX3")
    assert [judge(candidates, holds, now_s) for now_s in (0.0, 100.0, 10_000.0)] == [False, False, False]
    assert candidates.items(5) == [Item(b"bk", Reason.HOLDS_UNFINISHED, ".f3.fits.klTaX3")]
    whole = Candidate(b"bk", Kind.BOOK, 1, CHANGED, 0, newest=b"f3.fits")
    assert not judge(candidates, whole, 10_001.0)
    assert candidates.items(5) == [Item(b"bk", Reason.NOT_QUIET, "f3.fits changed")]
    assert judge(candidates, whole, 10_006.0)
    assert judge(waiting(unit="book"), holds, 0.0, Arrival.MOVED), "what is moved in is whole"


def test_a_book_that_loses_its_temporary_name_without_a_change_of_times_still_has_to_be_quiet() -> None:
    candidates = waiting(unit="book")
    assert not judge(candidates, Candidate(b"bk", Kind.BOOK, 1, LOOK, 0, holds=b"x.part"), 0.0)
    assert not judge(candidates, Candidate(b"bk", Kind.BOOK, 1, LOOK, 0), 100.0)
    assert judge(candidates, Candidate(b"bk", Kind.BOOK, 1, LOOK, 0), 105.0)


def test_only_what_was_seen_to_be_moved_in_is_taken_where_that_is_asked_for() -> None:
    candidates = waiting(complete="moved")
    assert [judge(candidates, found(), now_s) for now_s in (0.0, 1000.0)] == [False, False]
    assert reasons(candidates) == [(b"x", Reason.NOT_SEEN_MOVED)]
    assert judge(candidates, found(), 1001.0, Arrival.MOVED)
    full = waiting(most=0, complete="moved")
    assert not judge(full, found(age_s=1000.0), 0.0)
    assert len(full) == 1


def test_what_was_moved_in_and_is_still_written_to_was_moved_in_all_the_same() -> None:
    candidates = waiting(complete="moved")
    candidates.hold(b"x", Reason.STILL_WRITTEN, 0.0, fingerprint=LOOK, moved=True)
    candidates.hold(b"x", Reason.STILL_WRITTEN, 5.0, fingerprint=CHANGED)
    assert not judge(candidates, found(), 6.0)
    assert judge(candidates, found(), 10.0)
    candidates.returned(b"y", Reason.NOT_READABLE, 0.0)
    assert judge(candidates, found(b"y"), 5.0)


def test_what_rsync_named_without_its_time_waits_until_rsync_or_a_move_finishes_it() -> None:
    for mode in ("quiet", "rename", "moved"):
        candidates = waiting(complete=mode)
        assert not judge(candidates, found(), 0.0, Arrival.BY_RSYNC)
        assert [judge(candidates, found(), now_s) for now_s in (6.0, 1000.0)] == [False, False]
        assert reasons(candidates) == [(b"x", Reason.NOT_SEEN_FINISHED)]
        assert judge(candidates, found(look=CHANGED), 1001.0, Arrival.MOVED)
    candidates = waiting()
    judge(candidates, found(), 0.0, Arrival.BY_RSYNC)
    assert not judge(candidates, found(look=CHANGED), 1.0)
    assert judge(candidates, found(look=CHANGED), 6.0), "somebody else wrote to it meanwhile: it is like any other file"


def test_what_rsync_was_stopped_at_waits_by_its_time_and_is_taken_if_it_is_moved_in() -> None:
    part = Candidate(b"x", Kind.FILE, 1, LOOK, 0, stopped=True)
    for mode in ("quiet", "rename"):
        candidates = waiting(complete=mode)
        assert [judge(candidates, part, now_s) for now_s in (0.0, 1000.0)] == [False, False]
        assert reasons(candidates) == [(b"x", Reason.NOT_SEEN_FINISHED)]
        assert judge(candidates, part, 1001.0, Arrival.MOVED)


def test_it_is_said_when_a_person_must_be_told_of_more() -> None:
    candidates = waiting()
    judge(candidates, found(), 0.0)
    assert candidates.next_told_s(0.0) is None
    candidates.hold(b"a", Reason.NOT_READABLE, 1.0)
    assert candidates.next_told_s(2.0) == 49.0
    assert candidates.next_told_s(51.0) is None


def test_it_waits_for_a_reason_since_it_first_did_and_then_a_person_is_told() -> None:
    candidates = waiting()
    told_s = PATIENCE * 5.0
    candidates.hold(b"a", Reason.NOT_READABLE, 0.0, detail="Permission denied")
    candidates.hold(b"b", Reason.NOT_PERMITTED, 10.0)
    judge(candidates, found(b"c"), 0.0)
    assert set(candidates.outstanding(11.0, "/drop")) == {"not-permitted"}
    candidates.hold(b"a", Reason.NOT_READABLE, 20.0, detail="Permission denied")
    assert candidates.due(24.0) == [b"c"]
    assert candidates.due(25.0) == [b"a", b"c"]
    assert candidates.others() == [b"b"]
    told = candidates.outstanding(told_s, "/drop")["not-readable"]
    assert told.message == "1 thing waits (not-readable): /drop/a (Permission denied)"
    candidates.forget(b"a")
    assert set(candidates.outstanding(told_s, "/drop")) == {"not-permitted"}


def test_what_a_person_must_deal_with_is_named_first() -> None:
    candidates = waiting()
    for number in range(8):
        judge(candidates, found(b"%d" % number), 0.0)
    candidates.hold(b"z", Reason.NOT_READABLE, 0.0)
    assert candidates.items(5)[0].rel == b"z"
    assert len(candidates.items(5)) == 5


def test_where_not_all_can_be_remembered_a_number_is_a_least_number() -> None:
    candidates = waiting(most=1)
    candidates.hold(b"a", Reason.NOT_PERMITTED, 0.0)
    candidates.hold(b"b", Reason.NOT_PERMITTED, 0.0)
    assert "at least 1 thing waits" in candidates.outstanding(1.0, "/drop")["not-permitted"].message
    assert len(candidates) == 2


def test_a_book_is_given_more_time_than_a_file() -> None:
    assert IntakeSettings(path="/drop", store="s").quiet_for_s == 5.0
    assert IntakeSettings(path="/drop", store="s", unit="book").quiet_for_s == 60.0
    assert IntakeSettings(path="/drop", store="s", unit="book", quiet_s=1.0).quiet_for_s == 1.0


def scanner(**changed: Any) -> Scanner:
    return Scanner(IntakeSettings(path="/drop", store="s", **changed))


def test_a_path_belongs_to_itself_or_to_its_book() -> None:
    assert scanner().candidate_of(b"a/b/c") == b"a/b/c"
    assert scanner(unit="book", depth=2).candidate_of(b"a/b/c/.d") == b"a/b"
    assert scanner(unit="book", depth=2).candidate_of(b"a") == b"a"


def test_ignored_names_and_our_own_belong_to_nothing() -> None:
    for rel in (b".claimed/b/x", b".rejected/x", b"a/.hidden", b".git/x", b"a/b.part"):
        assert scanner().candidate_of(rel) is None
    assert scanner(ignore=[]).candidate_of(b".claimed/x") is None
    assert scanner(unit="book").candidate_of(b"book/x.part") == b"book"


def test_what_a_pause_held_up_is_complete_when_it_is_over_unless_it_changed() -> None:
    candidates = waiting()
    for rel in (b"x", b"y"):
        assert judge(candidates, found(rel), 0.0, Arrival.MOVED)
        candidates.hold(rel, Reason.PAUSED, 0.0, fingerprint=LOOK, moved=True)
    assert candidates.due(1000.0) == []
    assert judge(candidates, found(b"x"), 0.1)
    assert not judge(candidates, found(b"y", look=CHANGED), 0.1)
    assert (b"y", Reason.NOT_QUIET) in reasons(candidates)
