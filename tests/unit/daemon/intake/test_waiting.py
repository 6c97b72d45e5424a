"""When a candidate counts as complete."""

from __future__ import annotations

from typing import Any

from librarian_daemon.intake.scan import Candidate, Fingerprint, Kind, Scanner
from librarian_daemon.intake.waiting import NO_MARKER, NOT_QUIET, STILL_WRITTEN, Waiting
from librarian_daemon.settings import IntakeSettings

LOOK: Fingerprint = (1, 2, 3, 4, 5)
CHANGED: Fingerprint = (1, 2, 3, 4, 6)
UNIX_S = 1_700_000_000


def waiting(most: int = 10, **changed: Any) -> Waiting:
    return Waiting(IntakeSettings(path="/drop", store="s", quiet_s=5.0, **changed), most)


def found(rel: bytes = b"x", look: Fingerprint = LOOK, kind: Kind = Kind.FILE, age_s: float = 0.0) -> Candidate:
    return Candidate(rel, kind, 1, look, int((UNIX_S - age_s) * 1e9))


def judge(one: Waiting, candidate: Candidate, now_s: float, *, moved: bool = False, marked: bool = False) -> bool:
    return one.judge(candidate, moved=moved, marked=marked, now_s=now_s, unix_s=UNIX_S)


def test_two_equal_looks_so_far_apart_are_quiet() -> None:
    one = waiting()
    assert [judge(one, found(), now_s) for now_s in (0.0, 4.9, 5.0)] == [False, False, True]


def test_a_change_begins_the_wait_anew() -> None:
    one = waiting()
    assert not judge(one, found(), 0.0)
    assert not judge(one, found(look=CHANGED), 4.0)
    assert not judge(one, found(look=CHANGED), 6.0)
    assert judge(one, found(look=CHANGED), 9.0)


def test_what_was_renamed_into_place_is_complete_at_once() -> None:
    assert judge(waiting(), found(), 0.0, moved=True)
    assert judge(waiting(complete="rename"), found(), 0.0)


def test_a_book_waits_for_its_marker_however_quiet() -> None:
    one = waiting(unit="book", complete="marker")
    book = found(kind=Kind.BOOK)
    assert not judge(one, book, 0.0, moved=True)
    assert not judge(one, book, 100.0)
    assert one.items(5) == [(b"x", NO_MARKER)]
    assert one.due(1000.0) == []
    assert judge(one, book, 100.0, marked=True)


def test_what_was_put_back_is_left_alone_for_a_while_whatever_the_mode() -> None:
    for one in (waiting(), waiting(complete="rename"), waiting(unit="book", complete="marker")):
        one.returned(b"x", 10.0)
        assert one.items(5) == [(b"x", STILL_WRITTEN)]
        assert not judge(one, found(kind=Kind.BOOK), 12.0, moved=True, marked=True)
        assert judge(one, found(kind=Kind.BOOK), 15.0, moved=True, marked=True)


def test_beyond_its_bound_the_times_on_disk_decide() -> None:
    one = waiting(most=2)
    for rel in (b"a", b"b"):
        assert not judge(one, found(rel), 0.0)
    assert judge(one, found(b"c", age_s=6.0), 0.0)
    assert not judge(one, found(b"d", age_s=1.0), 0.0)
    assert len(one) == 3
    assert {reason for _, reason in one.items(5)} == {NOT_QUIET}


def test_it_says_when_to_look_again() -> None:
    one = waiting()
    assert one.next_due_s(0.0) is None
    judge(one, found(b"a"), 0.0)
    judge(one, found(b"b"), 2.0)
    assert one.next_due_s(3.0) == 2.0
    assert one.due(5.0) == [b"a"]
    one.forget(b"a")
    assert one.due(5.0) == []


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
