"""Lengths of time as people write them."""

from __future__ import annotations

import pytest

from librarian_protocol.durations import seconds_of
from librarian_protocol.errors import ArgumentInvalid


@pytest.mark.parametrize(
    ("text", "seconds"), [("0s", 0), ("90s", 90), ("45m", 2700), ("2h", 7200), ("28d", 2419200), ("1d12h", 129600)]
)
def test_a_length_of_time_is_read(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "1.5h", "-1d", "1w", "1d 2h", "١s"])
def test_what_is_no_length_is_refused(text: str) -> None:
    with pytest.raises(ArgumentInvalid, match="no length of time"):
        seconds_of(text)
