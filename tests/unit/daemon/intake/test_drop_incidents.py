"""Incidents about what stands in drop directories, over restarts and changes of the configuration."""

from __future__ import annotations

from tests.support.intake import FakeIncidents

from librarian_daemon.intake.drop_incidents import REFUSED, STUCK, DropIncidents, end_of_others
from librarian_protocol.dropped import Outstanding


def standing(number: int) -> Outstanding:
    return Outstanding(number=number, message=f"{number} wait", hint="")


async def test_what_was_told_before_a_start_is_over_only_when_all_was_looked_at() -> None:
    incidents = FakeIncidents()
    await DropIncidents(STUCK, "/drop", incidents).tell({"a": standing(1), "b": standing(2)})
    again = DropIncidents(STUCK, "/drop", incidents)
    await again.tell({"a": standing(3)}, settled=False)
    assert incidents.numbers == {(STUCK, "/drop: a"): 3, (STUCK, "/drop: b"): 2}
    await again.tell({"a": standing(3)})
    assert set(incidents.now) == {(STUCK, "/drop: a")}
    await again.tell({})
    assert incidents.now == {}


async def test_of_two_drop_directories_each_ends_its_own() -> None:
    incidents = FakeIncidents()
    for place in ("/drop", "/drop-books"):
        await DropIncidents(REFUSED, place, incidents).tell({"a": standing(1)})
    await DropIncidents(REFUSED, "/drop", incidents).tell({})
    assert set(incidents.now) == {(REFUSED, "/drop-books: a")}


async def test_a_drop_directory_that_is_configured_no_more_has_no_incidents() -> None:
    incidents = FakeIncidents()
    kept = [(REFUSED, "/drop: a"), (STUCK, "/drop: b"), ("store-full", "/drop"), ("store-full", "main")]
    kept += [("store-fault", "/store"), ("transfer-parked", "/gone/x")]
    gone = [(REFUSED, "/gone: a"), (REFUSED, "/gone/.rejected/x"), (STUCK, "/gone/x"), ("store-full", "/gone")]
    gone += [("catalog-fault", "/gone"), ("store-not-mounted", "/gone"), (REFUSED, "/drop-too: a")]
    for code, subject in [*kept, *gone]:
        await incidents.open(code, subject, "", "")
    await end_of_others(incidents, ["/drop"], ["/store"])
    assert set(incidents.now) == set(kept)
