"""How a store is used: a person's word before the configuration's."""

from __future__ import annotations

import pytest

from librarian_protocol.errors import ArgumentInvalid
from librarian_protocol.store_settings import (
    USUAL_RESERVE,
    StoreOverrides,
    StoreValues,
    in_force,
    merged,
    origin,
    reserve_bytes,
)

GIB = 1 << 30


def test_a_persons_word_counts_before_the_configuration() -> None:
    configured = StoreValues(ingestable=False, priority=7, reserve="5%")
    assert in_force(configured, StoreOverrides()) == configured
    said = StoreOverrides(active=False, ingestable=True, priority=0)
    assert in_force(configured, said) == StoreValues(active=False, ingestable=True, priority=0, reserve="5%")


def test_further_words_leave_what_they_do_not_say() -> None:
    first = StoreOverrides(active=False, priority=3)
    assert merged(first, StoreOverrides(active=True, reserve="1GiB")) == StoreOverrides(
        active=True, priority=3, reserve="1GiB"
    )
    assert merged(first, StoreOverrides()) == first


@pytest.mark.parametrize(
    ("key", "configured", "overrides", "found"),
    [
        ("active", StoreValues(), StoreOverrides(), "default"),
        ("active", StoreValues(), StoreOverrides(active=True), "set"),
        ("priority", StoreValues(priority=3), StoreOverrides(), "configured"),
        ("priority", StoreValues(priority=3), StoreOverrides(priority=0), "set"),
    ],
)
def test_each_value_says_where_it_comes_from(
    key: str, configured: StoreValues, overrides: StoreOverrides, found: str
) -> None:
    assert origin(key, configured, overrides) == found


@pytest.mark.parametrize(
    ("reserve", "total_bytes", "found"),
    [
        (USUAL_RESERVE, 50 * GIB, GIB),
        (USUAL_RESERVE, 5 * GIB, GIB // 10 + 1),
        ("2.5%", 1000, 25),
        ("0%", 1000, 0),
        ("99.9%", 1000, 999),
        ("50GiB", 10, 50 * GIB),
        ("1500", 10, 1500),
    ],
)
def test_a_reserve_is_a_size_or_a_share(reserve: str, total_bytes: int, found: int) -> None:
    assert abs(reserve_bytes(reserve, total_bytes) - found) <= 1


@pytest.mark.parametrize("reserve", ["", "100%", "-1", "5 %", "%", "1.25%", "much", "1e9", "٥%"])
def test_what_is_no_reserve_is_refused(reserve: str) -> None:
    with pytest.raises(ArgumentInvalid, match="is no reserve") as refused:
        reserve_bytes(reserve, 100)
    assert "50GiB" in str(refused.value.hint)
