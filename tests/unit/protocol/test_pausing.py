"""Pauses for maintenance: how they are written, and when they are over."""

from __future__ import annotations

import msgspec
import pytest
from tests.unit.protocol.samples import SUMMIT

from librarian_protocol import pausing
from librarian_protocol.errors import ArgumentInvalid, SiteNameInvalid
from librarian_protocol.pausing import MOST_S, Pause

NOW = 1_800_000_000
PAUSE = Pause(what="intake", reason="new disks", by="anna", began=NOW, until=NOW + 7200)


@pytest.mark.parametrize("what", ["intake", "transfers", "peer:summit"])
def test_three_kinds_of_things_are_paused(what: str) -> None:
    assert pausing.what_of(what) == what
    assert pausing.peer_of(what) == (SUMMIT if what.startswith("peer:") else None)


@pytest.mark.parametrize("what", ["", "bus", "peer", "Intake", "summit"])
def test_nothing_else_is(what: str) -> None:
    """Anything but these three is refused, with the reason."""
    with pytest.raises(ArgumentInvalid, match="cannot be paused"):
        pausing.what_of(what)


def test_a_peer_is_named_by_a_sites_name() -> None:
    with pytest.raises(SiteNameInvalid):
        pausing.what_of("peer:Summit!")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("45m", 2700), ("2h", 7200), ("1d12h", 129_600), ("30d", MOST_S)]
)
def test_lengths_are_written_with_units(text: str, seconds: int) -> None:
    assert pausing.length_s(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "2 h", "-2h", "2w", "2h ", "٢h"])
def test_what_is_no_length_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ArgumentInvalid, match="no length of time") as refused:
        pausing.length_s(text)
    assert "2h" in refused.value.hint


@pytest.mark.parametrize(("text", "word"), [("0s", "short"), ("31d", "long"), ("30d1s", "long")])
def test_a_pause_is_bounded(text: str, word: str) -> None:
    with pytest.raises(ArgumentInvalid, match=f"too {word}: from 1 s to 30 days"):
        pausing.length_s(text)


def test_a_pause_is_made_with_all_that_others_must_know() -> None:
    made = pausing.made("intake", reason=" new disks ", by="anna", seconds=7200, now=NOW)
    assert made == PAUSE
    assert pausing.describe(made) == "paused until 2027-01-15T10:00:00Z by anna: new disks"
    assert pausing.made("intake", reason="\x1b[2J", by="", seconds=1, now=NOW).reason == r"\x1b[2J"
    assert pausing.made("intake", reason="x", by="", seconds=1, now=NOW).by == "somebody"


@pytest.mark.parametrize("reason", ["", "  ", "x" * 257])
def test_a_pause_has_a_reason(reason: str) -> None:
    with pytest.raises(ArgumentInvalid, match="needs a reason"):
        pausing.made("intake", reason=reason, by="anna", seconds=1, now=NOW)


@pytest.mark.parametrize(
    ("now", "left"),
    [
        (NOW, 7200),
        (NOW + 7199, 1),
        (NOW + 7200, 0),
        (NOW + 10**9, 0),
        (NOW - 60, 7200),  # a clock that was corrected
        (NOW - 10**8, 0),  # set back by years: else it would hold for years
    ],
)
def test_it_is_over_when_its_time_has_come_and_whenever_the_clock_was_set_back(now: int, left: int) -> None:
    assert pausing.left_s(PAUSE, now) == left


def test_a_row_that_somebody_changed_does_not_hold_for_ever() -> None:
    ends_before = msgspec.structs.replace(PAUSE, until=NOW - 1)
    assert pausing.left_s(ends_before, NOW) == 0
