"""What waits in a drop directory, and when a person must know."""

from __future__ import annotations

import pytest

from librarian_protocol import dropped
from librarian_protocol.dropped import AT_ONCE, HINTS, PATIENCE, Reason


def test_every_reason_stands_in_the_table_at_the_top() -> None:
    assert dropped.__doc__ is not None
    for reason in Reason:
        assert f"``{reason}``" in dropped.__doc__


@pytest.mark.parametrize("reason", Reason)
def test_a_person_is_told_of_what_time_does_not_end_and_not_before_people_had_time(reason: Reason) -> None:
    long_s = PATIENCE * 5.0
    assert dropped.is_for_a_person(reason, long_s, 5.0) is (reason in HINTS)
    assert dropped.is_for_a_person(reason, long_s - 1.0, 5.0) is (reason in AT_ONCE)


def test_one_thing_that_waits_is_named() -> None:
    said = dropped.waiting("not-readable", 1, ["/drop/a"], at_least=False)
    assert (said.number, said.message) == (1, "1 thing waits (not-readable): /drop/a")
    assert "chmod -R g+rX" in said.hint


def test_of_many_some_are_named_and_all_are_counted() -> None:
    many = dropped.waiting("not-permitted", 1200, ["a", "b", "c", "d"], at_least=True)
    assert many.message == "at least 1,200 things wait (not-permitted): a, b, c and 1,197 more"


def test_what_was_refused_is_counted_and_the_last_is_told_with_its_reason() -> None:
    said = dropped.refused("name-taken", 1, "x", "the name is taken", "", [])
    assert said.message == "1 was refused (name-taken), the last x: the name is taken"
    assert said.hint.startswith("see the reason; `lbctl rejected list --cause name-taken`")
    many = dropped.refused("name-taken", 7, "x", "the name is taken", "another name", ["a", "b", "c", "d"])
    assert many.message == "7 were refused (name-taken), the last x: the name is taken; 6 before it, such as a, b, c"
    assert many.hint.startswith("another name; ")
