"""The states of a segment in a journal: which count, and which do not."""

from __future__ import annotations

from librarian_protocol.journal_state import COUNTING, NOT_COUNTING, JournalState


def test_a_held_segment_neither_counts_nor_is_rejected() -> None:
    assert set(JournalState) - set(COUNTING) - set(NOT_COUNTING) == {JournalState.HELD}
    assert not set(COUNTING) & set(NOT_COUNTING)
