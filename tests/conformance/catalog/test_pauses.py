"""Pauses are kept over restarts, and are over by themselves."""

from __future__ import annotations

import asyncio

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.transfers import pauses
from librarian_daemon.runtime.clock import SystemClock
from librarian_daemon.transfers.pauses import Pauses
from librarian_protocol import pausing
from librarian_protocol.names import SiteName
from librarian_protocol.pausing import Pause

NOW = 1_800_000_000
SUMMIT = SiteName.parse("summit")


class SetClock(SystemClock):
    """Shows what it was set to."""

    def __init__(self) -> None:
        self.wall_s = NOW
        self.up_s = 50.0

    def unix_s(self) -> int:
        return self.wall_s

    def boottime_s(self) -> float:
        return self.up_s


def pause(what: str, seconds: int = 100, reason: str = "new disks") -> Pause:
    return pausing.made(what, reason=reason, by="anna", seconds=seconds, now=NOW)


async def test_a_pause_holds_over_a_restart_and_is_replaced_by_the_next(catalog: Catalog) -> None:
    clock = SetClock()
    service = Pauses(catalog, clock)
    woken: list[str] = []
    service.watch(lambda: woken.append(service.intake()))
    await service.begin(pause("intake"))
    await service.begin(pause("intake", 200, "other disks"))
    await service.begin(pause("peer:summit"))
    assert woken[0].endswith("by anna: new disks")
    assert woken[-1].endswith("by anna: other disks")

    again = Pauses(catalog, clock)
    assert again.in_force() == []
    await again.load()
    assert [held.what for held in again.in_force()] == ["intake", "peer:summit"]
    assert again.intake().endswith("by anna: other disks")
    assert (again.transfers(), again.peers(), again.peer(SiteName.parse("archive"))) == (
        "",
        frozenset({SUMMIT}),
        "",
    )
    assert (await again.end("peer:summit") or pause("intake")).what == "peer:summit"
    assert await again.end("peer:summit") is None
    assert again.peer(SUMMIT) == ""
    assert [held.what for held in await catalog.read(pauses.kept)] == ["intake"]


async def test_it_ends_by_either_clock_and_by_a_wall_clock_that_was_set_back(catalog: Catalog) -> None:
    clock = SetClock()
    pauses = Pauses(catalog, clock)
    await pauses.begin(pause("intake"))
    for wall_s, up_s, holds in (
        (NOW + 99, 149.0, True),
        (NOW + 100, 60.0, False),  # the wall clock says so
        (NOW + 10, 150.0, False),  # the wall clock stands still, or goes slowly
        (NOW - 10**7, 60.0, False),
        (NOW - 100, 60.0, True),
    ):
        clock.wall_s, clock.up_s = wall_s, up_s
        assert bool(pauses.intake()) is holds, (wall_s, up_s)


async def test_what_is_over_is_removed_and_others_go_on(catalog: Catalog) -> None:
    clock = SetClock()
    service = Pauses(catalog, clock)
    await service.begin(pause("transfers"))
    await service.begin(pause("intake", 500))
    gone_on = asyncio.Event()
    service.watch(gone_on.set)
    clock.wall_s += 100
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        task = group.create_task(service.run())
        await gone_on.wait()
        task.cancel()
    assert [held.what for held in await catalog.read(pauses.kept)] == ["intake"]


async def test_a_restart_after_its_end_finds_nothing_paused(catalog: Catalog) -> None:
    clock = SetClock()
    await Pauses(catalog, clock).begin(pause("transfers"))
    clock.wall_s += 101
    late = Pauses(catalog, clock)
    await late.load()
    assert late.in_force() == []
    assert late.transfers() == ""
