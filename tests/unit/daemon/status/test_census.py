"""Figures over the catalog are exact where counting is quick; where it is slow, nobody waits for them."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.status.totals import Counted
from librarian_daemon.ports.time import Clock
from librarian_daemon.status.census import Census
from librarian_protocol import api
from librarian_protocol.names import SiteName


class Time:
    """A clock that goes on only when told to; who sleeps says until when."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.slept: list[float] = []
        self.awake = asyncio.Event()

    def utc(self) -> str:
        return f"2026-01-01T{self.now_s:06.0f}Z"

    def boottime_s(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await self.awake.wait()
        self.now_s += seconds


class Table:
    """A catalog of so many files; a count takes so many seconds."""

    def __init__(self, time: Time, takes_s: float) -> None:
        self.files = 0
        self.takes_s = takes_s
        self.counts = 0
        self._time = time

    async def read(self, _work: object, _site: SiteName) -> Counted:
        self.counts += 1
        files = self.files
        await asyncio.sleep(0)
        self._time.now_s += self.takes_s
        totals = api.Counts(files=files, instances_here=0, instances_elsewhere=0, conflicts=0, suspected=0, doubted=0)
        return Counted(totals=totals, stores={}, transfers={}, parked={}, owed={}, outbox=0)


def census(table: Any, time: Any) -> Census:
    return Census(cast(Catalog, table), cast(Clock, time), SiteName("archive"))


async def test_what_is_quick_is_counted_for_everybody_who_asks() -> None:
    time = Time()
    table = Table(time, takes_s=0.01)
    figures = census(table, time).figures
    for files in (1, 2, 3):
        table.files = files
        assert (await figures()).counted.totals.files == files


async def test_what_is_slow_is_counted_aside_and_at_most_a_twentieth_of_the_time() -> None:
    time = Time()
    table = Table(time, takes_s=3.0)
    counting = census(table, time)
    first = await counting.figures()
    service = asyncio.create_task(counting.run())
    table.files = 7
    for _ in range(5):
        assert await counting.figures() == first, "the last figures, with the time of which they are"
        await asyncio.sleep(0)
    assert table.counts == 1
    assert time.slept == [57.0], "20 x 3 s after it began, which was 3 s ago"
    time.awake.set()
    while table.counts == 1 or (await counting.figures()).counted.totals.files != 7:
        await asyncio.sleep(0)
    assert (await counting.figures()).at > first.at
    service.cancel()
    await asyncio.gather(service, return_exceptions=True)


async def test_those_who_ask_first_wait_for_one_count() -> None:
    time = Time()
    table = Table(time, takes_s=3.0)
    figures = census(table, time).figures
    await asyncio.gather(*(figures() for _ in range(10)))
    assert table.counts == 1
