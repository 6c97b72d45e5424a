"""The order in which states win."""

from __future__ import annotations

import pytest

from librarian_protocol.versions import Version


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
    assert greater > lesser
