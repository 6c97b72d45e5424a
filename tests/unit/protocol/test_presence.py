"""Whether a site is there, and whether what it holds counts."""

from __future__ import annotations

import msgspec
import pytest
from tests.unit.protocol.samples import ARCHIVE
from tests.unit.protocol.test_roster import member

from librarian_protocol.presence import Presence, counts, is_declared, seen


@pytest.mark.parametrize(
    ("readable", "hears_heads", "quiet_s", "expected"),
    [
        (True, True, 90.0, Presence.UP),
        (True, True, 91.0, Presence.SILENT),
        (None, True, 91.0, Presence.SILENT),
        (None, True, 1.0, Presence.UNKNOWN),
        (False, True, 1.0, Presence.DOWN),
        (False, True, 91.0, Presence.DOWN),
        (True, False, 1.0, Presence.UP),
        (True, False, 91.0, Presence.UNKNOWN),
        (False, False, 91.0, Presence.DOWN),
    ],
)
def test_who_has_not_told_its_heads_for_three_intervals_is_silent_whatever_the_bus_says(
    readable: bool | None, hears_heads: bool, quiet_s: float, expected: Presence
) -> None:
    found = seen(readable=readable, why="cut", hears_heads=hears_heads, quiet_s=quiet_s)
    assert found.presence is expected
    assert bool(found.detail) == (found.presence is not Presence.UP and not (readable is None and quiet_s < 90))


def test_a_site_says_itself_how_often_it_tells_its_heads() -> None:
    assert seen(readable=True, why="", hears_heads=True, quiet_s=4.0, every_s=1.0).presence is Presence.SILENT
    assert seen(readable=True, why="", hears_heads=True, quiet_s=300.0, every_s=120.0).presence is Presence.UP


def test_what_a_revoked_site_holds_counts_nowhere() -> None:
    assert counts(member(ARCHIVE))
    assert not counts(None)
    assert not counts(msgspec.structs.replace(member(ARCHIVE), revoked=True))


def test_a_store_counts_that_was_declared_with_a_key_of_the_present_admission() -> None:
    """Or with one that the site went over to since; where nobody knows which it was, it counts."""
    anew = msgspec.structs.replace(member(ARCHIVE), keys=[(None, "now"), (None, "later")], former=["before"])
    assert [is_declared(anew, key) for key in ("now", "later", "before", "")] == [True, True, False, True]
