"""Priorities are bounded, and an arrival is told from what was measured."""

from __future__ import annotations

import pytest

from librarian_protocol.errors import ArgumentInvalid
from librarian_protocol.priorities import Queued, arrivals, check, of_subscription


@pytest.mark.parametrize("priority", [-100, 0, 100])
def test_a_priority_within_the_bounds_is_taken(priority: int) -> None:
    assert check(priority) == priority


@pytest.mark.parametrize("priority", [-101, 101, 1 << 40])
def test_one_beyond_them_is_refused(priority: int) -> None:
    with pytest.raises(ArgumentInvalid, match="not between -100 and 100"):
        check(priority)


def test_what_is_wanted_comes_after_all_that_goes_before_it_from_its_source() -> None:
    on_wire = [Queued(1, "summit", 100), Queued(2, "summit", 300), Queued(3, "dome", 50)]
    wanted = [Queued(4, "summit", 200), Queued(5, "dome", 50), Queued(6, "summit", 400)]
    assert arrivals(on_wire, wanted, {"summit": 10.0, "dome": 100.0}) == {
        1: 40.0,
        2: 40.0,
        3: 0.5,
        4: 60.0,
        5: 1.0,
        6: 100.0,
    }


def test_where_nothing_was_measured_nothing_is_told() -> None:
    wanted = [Queued(1, "summit", 1), Queued(2, "dome", 1), Queued(3, "", 1)]
    assert arrivals([], wanted, {"summit": 0.0}) == {}


def test_the_usual_priority_of_a_subscription_is_the_usual_one_of_a_transfer() -> None:
    assert [of_subscription(priority) for priority in (0, 5, 9)] == [-5, 0, 4]
