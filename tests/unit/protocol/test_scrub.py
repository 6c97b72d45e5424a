"""When a store is read again, and how fast."""

from __future__ import annotations

import pytest

from librarian_protocol import scrub
from librarian_protocol.errors import ArgumentInvalid
from librarian_protocol.scrub import ALWAYS, Ages, Budget, Hours, Pass

DAY_S = 86400
BUDGET = Budget(every_s=30 * DAY_S, rate=100, freeze_at=3)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30d", 30 * DAY_S), ("1d12h", 36 * 3600), ("60s", 60), ("3650d", 3650 * DAY_S)]
)
def test_a_period_is_written_as_other_lengths_of_time_are(text: str, seconds: int) -> None:
    assert scrub.period_s(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "a month", "59s", "3651d"])
def test_what_is_no_period_is_refused(text: str) -> None:
    with pytest.raises(ArgumentInvalid):
        scrub.period_s(text)


def test_a_rate_is_a_size_a_second() -> None:
    assert scrub.rate_of("50MiB/s") == 50 << 20
    for text in ("50MiB", "0/s", "fast/s", "/s"):
        with pytest.raises(ArgumentInvalid):
            scrub.rate_of(text)


def test_hours_may_go_over_midnight() -> None:
    night = scrub.hours_of("20:00-06:00")
    assert night == Hours(20 * 3600, 6 * 3600)
    assert night.part == pytest.approx(10 / 24)
    assert [night.closed_s(hour * 3600) for hour in (20, 23, 0, 5)] == [0, 0, 0, 0]
    assert night.closed_s(6 * 3600) == 14 * 3600
    assert night.closed_s(DAY_S + 20 * 3600 - 1) == 1


def test_without_hours_it_is_the_whole_day() -> None:
    assert scrub.hours_of("") == ALWAYS
    assert ALWAYS.part == 1
    assert {ALWAYS.closed_s(now) for now in (0, 1, DAY_S - 1, 7 * DAY_S + 5)} == {0}


@pytest.mark.parametrize("text", ["20-6", "24:00-06:00", "20:00-20:00", "20:00 - 06:00"])
def test_what_are_no_hours_is_refused(text: str) -> None:
    with pytest.raises(ArgumentInvalid):
        scrub.hours_of(text)


def a_pass(began: int, ended: int | None) -> Pass:
    return Pass(number=1, began=began, ended=ended)


def test_the_first_pass_begins_at_once_and_only_one_goes_on() -> None:
    assert scrub.is_due(None, BUDGET, 0, 0)
    assert not scrub.is_due(a_pass(0, None), BUDGET, 0, 1000 * DAY_S)


def test_a_pass_begins_early_enough_to_take_twice_as_long_as_planned() -> None:
    size_bytes = BUDGET.rate * 5 * DAY_S
    last = a_pass(0, 5 * DAY_S)
    assert not scrub.is_due(last, BUDGET, size_bytes, 20 * DAY_S - 1)
    assert scrub.is_due(last, BUDGET, size_bytes, 20 * DAY_S)


def test_a_pass_that_took_long_is_expected_to_take_as_long_again() -> None:
    assert scrub.is_due(a_pass(0, 25 * DAY_S), BUDGET, 0, 25 * DAY_S)
    assert not scrub.is_due(a_pass(0, 25 * DAY_S), BUDGET, 0, 5 * DAY_S - 1)


def test_a_store_that_is_too_large_is_read_without_a_rest() -> None:
    assert scrub.is_due(a_pass(0, 1), BUDGET, BUDGET.rate * 40 * DAY_S, 1)


def test_a_clock_that_was_set_back_begins_a_pass() -> None:
    assert scrub.is_due(a_pass(1000, 1001), BUDGET, 0, 999)
    assert not scrub.is_due(a_pass(1000, 900), BUDGET, 0, 1001)


def test_closed_hours_make_a_pass_longer() -> None:
    night = Budget(every_s=DAY_S, rate=100, hours=scrub.hours_of("00:00-06:00"))
    assert night.needs_s(100) == 4


def test_nothing_is_missed_while_the_oldest_and_the_last_are_read_in_time() -> None:
    assert scrub.projected_miss_s(Ages(), BUDGET) == 0
    in_time = Ages(first_s=29 * DAY_S, last_s=20 * DAY_S, left_bytes=BUDGET.rate * 9 * DAY_S)
    assert scrub.projected_miss_s(in_time, BUDGET) == 0


def test_it_is_said_by_how_much_something_is_read_too_late() -> None:
    assert scrub.projected_miss_s(Ages(first_s=31 * DAY_S), BUDGET) == DAY_S
    late = Ages(first_s=29 * DAY_S, last_s=28 * DAY_S, left_bytes=BUDGET.rate * 4 * DAY_S)
    assert scrub.projected_miss_s(late, BUDGET) == 2 * DAY_S


def test_it_yields_to_other_work_unless_it_would_be_late() -> None:
    assert scrub.allowed_rate(BUDGET, busy=False, miss_s=0) == 100
    assert scrub.allowed_rate(BUDGET, busy=True, miss_s=0) == 25
    assert scrub.allowed_rate(BUDGET, busy=True, miss_s=1) == 100


def test_more_bad_instances_than_configured_freeze_a_store() -> None:
    assert [scrub.freezes(bad, BUDGET) for bad in (0, 3, 4)] == [False, False, True]
