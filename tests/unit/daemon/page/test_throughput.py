"""What was moved over the last hour, in memory."""

from __future__ import annotations

import asyncio
from typing import cast

from librarian_daemon.page.throughput import EVERY_S, SAMPLES, Rates, Throughput
from librarian_daemon.ports.time import Clock
from librarian_daemon.runtime.metrics import Totals


class Time:
    """Each sleep takes as long as it should, or as ``took_s`` says, until the test has seen enough."""

    def __init__(self, sleeps: int, took_s: float = EVERY_S) -> None:
        self.now_s = 0.0
        self.left = sleeps
        self._took_s = took_s

    def boottime_s(self) -> float:
        return self.now_s

    async def sleep(self, _seconds: float) -> None:
        if not self.left:
            await asyncio.Event().wait()
        self.left -= 1
        self.now_s += self._took_s


async def watched(time: Time, step: float) -> Throughput:
    """After all sleeps of ``time``; every look finds ``step`` bytes more."""
    total = 0.0

    def totals() -> Totals:
        nonlocal total
        total += step
        return Totals(ingested_bytes=total, received_bytes=2 * total)

    throughput = Throughput(totals, cast(Clock, time))
    service = asyncio.create_task(throughput.run())
    while time.left:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    service.cancel()
    return throughput


async def test_rates_are_bytes_a_second() -> None:
    throughput = await watched(Time(2), step=150.0)
    assert throughput.rates == [Rates(ingested=10.0, received=20.0)] * 2


async def test_an_interval_that_took_longer_counts_as_long_as_it_took() -> None:
    throughput = await watched(Time(1, took_s=150.0), step=150.0)
    assert throughput.rates == [Rates(ingested=1.0, received=2.0)]


async def test_no_more_than_an_hour_is_kept() -> None:
    assert len((await watched(Time(SAMPLES + 5), step=1.0)).rates) == SAMPLES == 3600 // EVERY_S


async def test_at_first_there_is_nothing() -> None:
    assert (await watched(Time(0), step=1.0)).rates == []
