"""Who gets the next slot: nobody holds all of them while others have work, whatever they send, however slowly."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.protocol.samples import ARCHIVE, SUMMIT

from librarian_protocol.names import SiteName
from librarian_protocol.slots import SAID, Waits, following, waits

DOME, MIRROR = SiteName("dome"), SiteName("mirror")
NONE: frozenset[SiteName] = frozenset()


@pytest.mark.parametrize(
    ("slots", "held", "slow", "site", "why"),
    [
        (4, {}, NONE, SUMMIT, None),
        (4, {SUMMIT: 2}, NONE, SUMMIT, None),
        (4, {SUMMIT: 3}, NONE, SUMMIT, Waits.SITE_HAS_ITS_SHARE),
        (4, {SUMMIT: 3}, NONE, DOME, None),
        (4, {SUMMIT: 3, DOME: 1}, NONE, MIRROR, Waits.NO_FREE_SLOT),
        (4, {SUMMIT: 5}, NONE, MIRROR, Waits.NO_FREE_SLOT),
        (1, {}, NONE, SUMMIT, None),
        (1, {SUMMIT: 1}, NONE, SUMMIT, Waits.NO_FREE_SLOT),
        # Slow ones: one each, half of all at most.
        (4, {}, {SUMMIT}, SUMMIT, None),
        (4, {SUMMIT: 1}, {SUMMIT}, SUMMIT, Waits.SITE_IS_SLOW),
        (4, {SUMMIT: 1}, {SUMMIT, DOME}, DOME, None),
        (4, {SUMMIT: 1, DOME: 1}, {SUMMIT, DOME, MIRROR}, MIRROR, Waits.SITE_IS_SLOW),
        (4, {SUMMIT: 1, DOME: 1}, {SUMMIT, DOME}, MIRROR, None),
        (1, {}, {SUMMIT}, SUMMIT, None),
    ],
)
def test_a_site_may_have_one_more_slot_or_is_told_why_not(
    slots: int, held: dict[SiteName, int], slow: frozenset[SiteName], site: SiteName, why: Waits | None
) -> None:
    assert waits(slots, held, slow, site) is why


def test_every_reason_is_said_in_words() -> None:
    assert set(SAID) == set(Waits)


def test_who_holds_fewest_is_next_then_whose_turn_is_longest_ago_then_who_asks_first() -> None:
    asking = [SUMMIT, DOME, MIRROR]
    assert following(4, {SUMMIT: 1}, NONE, asking, {DOME: 7}) == MIRROR
    assert following(4, {SUMMIT: 1}, NONE, asking, {DOME: 7, MIRROR: 9}) == DOME
    assert following(4, {}, NONE, asking, {}) == SUMMIT
    assert following(4, {SUMMIT: 4}, NONE, asking, {}) is None
    assert following(4, {}, NONE, [], {}) is None


@given(st.integers(2, 6), st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=60), st.data())
def test_nobody_holds_all_slots_and_slow_ones_leave_half(
    slots: int, steps: list[tuple[bool, int]], data: st.DataObject
) -> None:
    """Whatever begins and ends in whichever order: a site that holds none is served when a slot is given back."""
    slow = data.draw(st.frozensets(st.sampled_from([SUMMIT, DOME])))
    held: Counter[SiteName] = Counter()
    turns: dict[SiteName, int] = {}
    for turn, (begins, which) in enumerate(steps):
        if begins:
            site = following(slots, held, slow, [SUMMIT, DOME, MIRROR], turns)
            if site is not None:
                held[site] += 1
                turns[site] = turn
        elif held:
            site = sorted(held)[which % len(held)]
            held[site] -= 1
            held = +held
        assert held.total() <= slots
        assert max(held.values(), default=0) < slots
        assert sum(held[site] for site in slow) <= slots // 2
        if held.total() < slots:
            assert waits(slots, held, slow, ARCHIVE) is None
