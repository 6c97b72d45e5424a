"""Incidents: open, acknowledged, over."""

from __future__ import annotations

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.incidents import incidents
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
    (incident,) = await catalog.read(incidents.open_incidents, 10)
    assert incident.id is not None
    assert await catalog.write(incidents.acknowledge, incident.id, "a disk is on its way")
    await _open(catalog, "store", "main")
    (seen,) = await catalog.read(incidents.open_incidents, 10)
    assert seen.acknowledged
    assert seen.count == 2
    shown = await catalog.read(incidents.by_id, incident.id)
    assert shown is not None
    assert (shown.state, shown.note) == ("acknowledged", "a disk is on its way")
    assert shown.steps
    await catalog.write(incidents.resolve_incident, "store", "main")
    assert await catalog.read(incidents.open_incidents, 10) == []
    await _open(catalog, "store", "main")
    (again,) = await catalog.read(incidents.open_incidents, 10)
    assert again.id != incident.id
    assert not again.acknowledged


async def test_what_has_no_end_of_its_own_is_over_when_acknowledged(catalog: Catalog) -> None:
    await _open(catalog, "equivocation", "archive")
    (incident,) = await catalog.read(incidents.open_incidents, 10)
    assert incident.id is not None
    assert incident.severity == "critical"
    assert await catalog.write(incidents.acknowledge, incident.id, "")
    assert await catalog.read(incidents.open_incidents, 10) == []
    assert await catalog.write(incidents.acknowledge, incident.id, "said twice: no harm")


async def test_an_unknown_one_cannot_be_acknowledged(catalog: Catalog) -> None:
    assert not await catalog.write(incidents.acknowledge, 99, "")
    assert await catalog.read(incidents.by_id, 99) is None


async def test_pages_are_newest_first_and_by_state_and_code(catalog: Catalog) -> None:
    for number in range(5):
        await _open(catalog, "intake-refused", f"file-{number}")
    await _open(catalog, "store", "main")
    first = await catalog.read(incidents.page_of, state=None, code="intake-refused", before=None, limit=2)
    assert [incident.subject for incident in first] == ["file-4", "file-3"]
    rest = await catalog.read(incidents.page_of, state=State.OPEN, code="intake-refused", before=first[-1].id, limit=10)
    assert [incident.subject for incident in rest] == ["file-2", "file-1", "file-0"]
    await catalog.write(incidents.acknowledge, first[0].id, "")
    await catalog.write(incidents.resolve_incident, "intake-refused", "file-3")
    for state, subjects in ((State.ACKNOWLEDGED, ["file-4"]), (State.RESOLVED, ["file-3"])):
        found = await catalog.read(incidents.page_of, state=state, code=None, before=None, limit=10)
        assert [incident.subject for incident in found] == subjects
    assert await catalog.read(incidents.count_open) == {
        ("intake-refused", False): 3,
        ("intake-refused", True): 1,
        ("store", False): 1,
    }


async def _count(catalog: Catalog, number: int, subject: str = "/drop: name-taken") -> bool:
    return await catalog.write(incidents.count_incident, "intake-refused", subject, number, f"{number} are", "look")


async def test_what_counts_things_has_their_present_number(catalog: Catalog) -> None:
    assert await _count(catalog, 3)
    assert not await _count(catalog, 5)
    assert not await _count(catalog, 4)
    (incident,) = await catalog.read(incidents.open_incidents, 10)
    assert (incident.count, incident.message) == (4, "4 are")


async def test_grown_after_somebody_has_seen_it_it_is_a_new_one(catalog: Catalog) -> None:
    await _count(catalog, 3)
    (incident,) = await catalog.read(incidents.open_incidents, 10)
    assert incident.id is not None
    await catalog.write(incidents.acknowledge, incident.id, "")
    assert not await _count(catalog, 2)
    (seen,) = await catalog.read(incidents.open_incidents, 10)
    assert (seen.id, seen.acknowledged, seen.count) == (incident.id, True, 2)
    assert await _count(catalog, 3)
    (again,) = await catalog.read(incidents.open_incidents, 10)
    assert again.id != incident.id
    assert not again.acknowledged


async def test_many_are_over_at_once_by_their_subjects(catalog: Catalog) -> None:
    for number in range(1100):
        await _count(catalog, 1, f"/drop/.rejected/{number}")
    await _count(catalog, 1, "/drop-books: name-taken")
    await _open(catalog, "store", "/drop/x")
    gone = await catalog.write(incidents.resolve_all, "intake-refused", lambda subject: subject.startswith("/drop/"))
    assert len(gone) == 1100
    left = {incident.subject for incident in await catalog.read(incidents.open_incidents, 10)}
    assert left == {"/drop-books: name-taken", "/drop/x"}
    assert await catalog.write(incidents.resolve_all, "intake-refused", lambda _: False) == []


async def test_all_of_a_code_are_acknowledged_at_once_and_then_all(catalog: Catalog) -> None:
    for number in range(3):
        await _open(catalog, "store", str(number))
    await _open(catalog, "equivocation", "archive")
    assert await catalog.write(incidents.acknowledge_many, "store", "disks are ordered") == 3
    assert await catalog.read(incidents.count_open) == {("store", True): 3, ("equivocation", False): 1}
    assert await catalog.write(incidents.acknowledge_many, None, "") == 1
    assert await catalog.read(incidents.count_open) == {("store", True): 3}, "the other has no end of its own"
    assert await catalog.write(incidents.acknowledge_many, None, "") == 0
    (incident, *_) = await catalog.read(incidents.open_incidents, 10)
    assert incident.id is not None
    shown = await catalog.read(incidents.by_id, incident.id)
    assert shown is not None
    assert shown.note == "disks are ordered"
