"""Lengths of time as people write them."""

from __future__ import annotations

import pytest

from librarian_protocol.errors import ArgumentInvalid
from librarian_protocol.lengths import seconds_of


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("45m", 2700), ("2h", 7200), ("90d", 90 * 86400), ("1d12h", 129600), ("0s", 0)]
)
def test_a_length_is_a_sum_of_numbers_with_units(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "d", "1w", "-1d", "1.5h", "1 d", "٣d"])
def test_what_is_no_length_is_refused(text: str) -> None:
    with pytest.raises(ArgumentInvalid, match="is no length of time"):
        seconds_of(text)
