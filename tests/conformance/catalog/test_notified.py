"""What each channel has told, and what it has not."""

from __future__ import annotations

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.incidents import deliveries, incidents


async def opened(catalog: Catalog, subject: str) -> int:
    await catalog.write(incidents.open_incident, "store", subject, "it broke", "mend it")
    return (await catalog.read(incidents.page_of, state=None, code=None, before=None, limit=1))[0].id


async def test_a_new_channel_begins_with_what_is_open(catalog: Catalog) -> None:
    await opened(catalog, "long-ago")
    await catalog.write(incidents.resolve_incident, "store", "long-ago")
    here = await opened(catalog, "main")
    found = await catalog.read(deliveries.pending, "oncall")
    assert ([incident.subject for incident in found.new], found.over, found.upto) == (["main"], [], here)


async def test_nothing_happened_is_nothing_to_tell(catalog: Catalog) -> None:
    found = await catalog.read(deliveries.pending, "oncall")
    assert (found.new, found.over, found.upto) == ([], [], 0)


async def test_what_was_told_is_not_told_again_and_its_end_is(catalog: Catalog) -> None:
    first = await opened(catalog, "main")
    for _ in range(2):  # told twice, as after a crash in between
        await catalog.write(deliveries.told, "oncall", [first], [], first)
    assert (await catalog.read(deliveries.pending, "oncall")).new == []
    second = await opened(catalog, "other")
    await catalog.write(incidents.resolve_incident, "store", "main")
    found = await catalog.read(deliveries.pending, "oncall")
    assert [incident.id for incident in found.new] == [second]
    assert [incident.id for incident in found.over] == [first]
    await catalog.write(deliveries.told, "oncall", [second], [first], second)
    found = await catalog.read(deliveries.pending, "oncall")
    assert (found.new, found.over, found.upto) == ([], [], second)


async def test_the_end_of_what_was_not_told_is_not_told(catalog: Catalog) -> None:
    first = await opened(catalog, "main")
    await catalog.write(deliveries.told, "oncall", [], [], first)
    await catalog.write(incidents.resolve_incident, "store", "main")
    assert (await catalog.read(deliveries.pending, "oncall")).over == []


async def test_what_ended_after_the_channel_began_is_still_seen(catalog: Catalog) -> None:
    await catalog.write(deliveries.told, "oncall", [], [], 0)
    await opened(catalog, "main")
    await catalog.write(incidents.resolve_incident, "store", "main")
    (incident,) = (await catalog.read(deliveries.pending, "oncall")).new
    assert incident.state == "resolved"


async def test_channels_do_not_know_of_one_another(catalog: Catalog) -> None:
    first = await opened(catalog, "main")
    await catalog.write(deliveries.told, "oncall", [first], [], first)
    assert [incident.id for incident in (await catalog.read(deliveries.pending, "office")).new] == [first]


async def test_more_than_a_page_is_told_page_by_page(catalog: Catalog) -> None:
    for number in range(deliveries.PAGE + 3):
        await catalog.write(incidents.open_incident, "store", str(number), "it broke", "")
    found = await catalog.read(deliveries.pending, "oncall")
    assert len(found.new) == deliveries.PAGE
    await catalog.write(deliveries.told, "oncall", [incident.id for incident in found.new], [], found.upto)
    assert len((await catalog.read(deliveries.pending, "oncall")).new) == 3
