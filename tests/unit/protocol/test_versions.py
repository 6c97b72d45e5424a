"""The order in which states win."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian_protocol.registers import Version, wins

versions = st.builds(
    Version,
    st.integers(min_value=0, max_value=3),
    st.sampled_from(["0" * 16, "0" * 15 + "9", "a" * 16]),
    st.integers(min_value=1, max_value=3),
)


def test_the_first_state_wins_against_nothing() -> None:
    """A register begins empty."""
    assert wins(Version(0, "0" * 16, 1), None)


@pytest.mark.parametrize(
    ("greater", "lesser"),
    [
        (Version(2, "0" * 16, 1), Version(1, "f" * 16, 9)),
        (Version(1, "b" * 16, 1), Version(1, "a" * 16, 9)),
        (Version(1, "a" * 16, 2), Version(1, "a" * 16, 1)),
        (Version(10, "a" * 16, 1), Version(9, "a" * 16, 1)),
    ],
)
def test_epoch_counts_before_incarnation_before_seq(greater: Version, lesser: Version) -> None:
    """As docs/events.md orders a site's entries."""
    assert wins(greater, lesser)
    assert not wins(lesser, greater)


def test_a_state_does_not_replace_itself() -> None:
    """A duplicate changes nothing."""
    assert not wins(Version(1, "a" * 16, 1), Version(1, "a" * 16, 1))


@given(st.lists(versions, min_size=1), st.randoms(use_true_random=False))
def test_applying_commutes(arrived: list[Version], order: object) -> None:
    """Whatever the order and the repetitions, the same state stands at the end at every site."""
    from random import Random

    assert isinstance(order, Random)
    ends: set[Version | None] = set()
    for _ in range(3):
        held: Version | None = None
        for version in arrived:
            if wins(version, held):
                held = version
        ends.add(held)
        order.shuffle(arrived)
        arrived.append(order.choice(arrived))
    assert ends == {max(arrived)}
