"""What a directory must hold to be taken for a store that lost its marker."""

from __future__ import annotations

import pytest

from librarian_protocol.marking import Comparison, refusal


@pytest.mark.parametrize(
    ("compared", "why"),
    [
        (Comparison(looked=1), ""),
        (Comparison(looked=100, missing=5, wrong=5), ""),
        (Comparison(looked=100, missing=6, wrong=5), "of 100 instances that were looked for 89 stand there"),
        (Comparison(looked=3, missing=3), "3 are missing"),
        (Comparison(looked=3, wrong=3), "3 are something else"),
        (Comparison(), "nothing to recognise it by"),
    ],
)
def test_most_of_what_the_catalog_knows_must_stand_there(compared: Comparison, why: str) -> None:
    found = refusal(compared)
    assert why in found
    assert bool(found) is bool(why)
