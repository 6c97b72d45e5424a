"""Incidents: open, acknowledged, over."""

from __future__ import annotations

from librarian_daemon.catalog import incidents
from librarian_daemon.catalog.writer import Catalog
from librarian_protocol.incidents import State


async def _open(catalog: Catalog, code: str, subject: str, message: str = "it broke") -> None:
    await catalog.write(incidents.open_incident, code, subject, message, "mend it")


async def test_what_happens_again_is_counted_not_opened_twice(catalog: Catalog) -> None:
    await _open(catalog, "store", "main")
    await _open(catalog, "store", "main", "it broke again")
    await _open(catalog, "store", "other")
    (main, other) = await catalog.read(incidents.open_incidents, 10)
    assert (main.subject, main.count, main.message) == ("main", 2, "it broke again")
    assert (other.subject, other.count) == ("other", 1)


async def test_acknowledged_is_open_still_until_its_cause_is_gone(catalog: Catalog) -> None:
    await _open(catalog, "store", "main")
    (one,) = await catalog.read(incidents.open_incidents, 10)
    assert one.id is not None
    assert await catalog.write(incidents.acknowledge, one.id, "a disk is on its way")
    await _open(catalog, "store", "main")
    (seen,) = await catalog.read(incidents.open_incidents, 10)
    assert seen.acknowledged
    assert seen.count == 2
    shown = await catalog.read(incidents.by_id, one.id)
    assert shown is not None
    assert (shown.state, shown.note) == ("acknowledged", "a disk is on its way")
    assert shown.steps
    await catalog.write(incidents.resolve_incident, "store", "main")
    assert await catalog.read(incidents.open_incidents, 10) == []
    await _open(catalog, "store", "main")
    (again,) = await catalog.read(incidents.open_incidents, 10)
    assert again.id != one.id
    assert not again.acknowledged


async def test_what_has_no_end_of_its_own_is_over_when_acknowledged(catalog: Catalog) -> None:
    await _open(catalog, "equivocation", "archive")
    (one,) = await catalog.read(incidents.open_incidents, 10)
    assert one.id is not None
    assert one.severity == "critical"
    assert await catalog.write(incidents.acknowledge, one.id, "")
    assert await catalog.read(incidents.open_incidents, 10) == []
    assert await catalog.write(incidents.acknowledge, one.id, "said twice: no harm")


async def test_an_unknown_one_cannot_be_acknowledged(catalog: Catalog) -> None:
    assert not await catalog.write(incidents.acknowledge, 99, "")
    assert await catalog.read(incidents.by_id, 99) is None


async def test_pages_are_newest_first_and_by_state_and_code(catalog: Catalog) -> None:
    for number in range(5):
        await _open(catalog, "intake-refused", f"file-{number}")
    await _open(catalog, "store", "main")
    first = await catalog.read(incidents.page_of, state=None, code="intake-refused", before=None, limit=2)
    assert [one.subject for one in first] == ["file-4", "file-3"]
    rest = await catalog.read(incidents.page_of, state=State.OPEN, code="intake-refused", before=first[-1].id, limit=10)
    assert [one.subject for one in rest] == ["file-2", "file-1", "file-0"]
    await catalog.write(incidents.acknowledge, first[0].id, "")
    await catalog.write(incidents.resolve_incident, "intake-refused", "file-3")
    for state, subjects in ((State.ACKNOWLEDGED, ["file-4"]), (State.RESOLVED, ["file-3"])):
        found = await catalog.read(incidents.page_of, state=state, code=None, before=None, limit=10)
        assert [one.subject for one in found] == subjects
    assert await catalog.read(incidents.count_open) == {
        ("intake-refused", False): 3,
        ("intake-refused", True): 1,
        ("store", False): 1,
    }
