"""A batch ends where what is not wanted any longer would hold a slot."""

from __future__ import annotations

import pytest

from librarian_protocol.batches import WORTH_ENDING, ends


@pytest.mark.parametrize(
    ("stopped", "stopped_bytes", "going", "expected"),
    [
        (0, 0, 0, False),
        (0, 0, 5, False),
        (1, 0, 0, True),
        (1, 10, 0, True),
        (1, WORTH_ENDING - 1, 1, False),
        (1, WORTH_ENDING, 1, True),
    ],
)
def test_a_batch_ends_where_it_is_worth_it(stopped: int, stopped_bytes: int, going: int, expected: bool) -> None:
    assert ends(stopped=stopped, stopped_bytes=stopped_bytes, going=going) is expected
