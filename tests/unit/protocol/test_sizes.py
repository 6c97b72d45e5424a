"""Sizes as people write them."""

from __future__ import annotations

import pytest

from librarian_protocol.errors import ArgumentInvalid
from librarian_protocol.sizes import bytes_of


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("0", 0), ("1500", 1500), ("7B", 7), ("1KiB", 1024), ("1kB", 1000), ("50 GiB", 50 << 30), ("2TB", 2 * 10**12)],
)
def test_a_size_is_a_number_with_a_unit_or_without(text: str, size_bytes: int) -> None:
    assert bytes_of(text) == size_bytes


@pytest.mark.parametrize("text", ["", "-1", "1.5GiB", "GiB", "1 gib", "1iB", "1KB", "1kiB", "1  B", "\u0661", "1B\n"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ArgumentInvalid, match="is no size"):
        bytes_of(text)


def test_a_size_beyond_the_largest_file_is_refused() -> None:
    assert bytes_of(str(2**53 - 1)) == 2**53 - 1
    with pytest.raises(ArgumentInvalid, match="more than any file"):
        bytes_of("8PiB")
