"""How slowly a site may bring bytes: asked for less each time, and slow until it brings the full rate."""

from __future__ import annotations

from librarian_protocol.rates import FLOOR, Pace, judged


def test_a_site_that_brings_the_least_rate_is_left_alone() -> None:
    assert judged(Pace(), 120_000, 120, 1000) == (Pace(), False)


def test_a_site_that_brings_less_is_given_up_and_asked_for_half_the_next_time() -> None:
    pace, ends = judged(Pace(), 60_000, 120, 1000)
    assert (pace, ends) == (Pace(asked=0.5, slow=True), True)
    # Honestly slow: the same rate again is borne, in the share of a slow site.
    assert judged(pace, 60_000, 120, 1000) == (pace, False)


def test_one_byte_in_two_seconds_is_never_borne() -> None:
    pace = Pace()
    for _ in range(20):
        pace, ends = judged(pace, 60, 120, 1000)
        assert ends
        assert pace.slow
    assert pace.asked == FLOOR


def test_the_full_rate_makes_good_by_doubling() -> None:
    pace, _ = judged(Pace(asked=0.25, slow=True), 1 << 20, 1, 1000)
    assert pace == Pace(asked=0.5)
    assert judged(pace, 1 << 20, 1, 1000) == (Pace(), False)


def test_without_a_least_rate_nobody_is_slow() -> None:
    assert judged(Pace(), 0, 120, 0) == (Pace(), False)
