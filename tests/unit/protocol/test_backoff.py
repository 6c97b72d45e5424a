"""How long to wait before the next attempt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian_protocol.backoff import FIRST_S, LONGEST_S, SPREAD, delay_s


def test_the_constants_are_what_the_operator_is_told() -> None:
    """Half a second first, five minutes at most, a quarter either way."""
    assert (FIRST_S, LONGEST_S, SPREAD) == (0.5, 300.0, 0.25)


def test_the_same_failure_waits_equally_long_in_every_replay() -> None:
    """The spread is drawn from the key, so these values never change."""
    values = [delay_s(attempts, "1") for attempts in (1, 2, 3, 20)]
    assert values == pytest.approx([0.6114969853629584, 0.856287905971121, 2.4334323375796507, 374.0239983422272])
    assert delay_s(1, "1") != delay_s(1, "2")
    assert delay_s(1, "1") * 2 != delay_s(2, "1")


@given(st.integers(min_value=1, max_value=10**9), st.text(max_size=20))
def test_the_delay_doubles_up_to_the_cap_and_stays_within_the_spread(attempts: int, key: str) -> None:
    """Whatever the number of attempts: never nothing, never for ever."""
    plain = min(0.5 * 2 ** min(attempts - 1, 40), 300.0)
    assert plain * 0.75 <= delay_s(attempts, key) <= plain * 1.25


def test_a_thousand_that_failed_together_do_not_come_back_together() -> None:
    """The whole width of the spread is used, evenly."""
    delays = sorted(delay_s(20, str(key)) for key in range(1000))
    assert delays[0] < 230
    assert delays[-1] > 370
    assert 290 < delays[500] < 310
