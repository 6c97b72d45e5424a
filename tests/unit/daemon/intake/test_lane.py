"""Work beside its caller, one piece at a time."""

from __future__ import annotations

import asyncio

import pytest

from librarian_daemon.intake.lane import Lane


async def test_its_error_comes_to_who_waits_for_its_end() -> None:
    async def fails() -> None:
        raise ValueError("why")

    lane = Lane()
    lane.begin(fails())
    with pytest.raises(ValueError, match="why"):
        await lane.ended()
    await lane.ended()  # nothing goes on any more


async def test_who_is_cancelled_while_waiting_leaves_nothing_behind() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    lane = Lane()
    lane.begin(work())
    await begun.wait()
    waiting = asyncio.create_task(lane.ended())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert ended.is_set()


async def test_stopping_ends_the_work_and_says_nothing_of_its_error() -> None:
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("too late")

    lane = Lane()
    lane.begin(work())
    await begun.wait()
    await lane.stop()
    await lane.stop()


async def test_a_pause_ends_with_the_work_or_with_the_time_and_tells_no_error() -> None:
    ended, woken = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await ended.wait()
        raise ValueError("why")

    lane = Lane(woken.set)
    await lane.pause(10.0)  # nothing goes on
    lane.begin(work())
    await lane.pause(0.0)
    assert (lane.busy, lane.failed) == (True, False)
    ended.set()
    async with asyncio.timeout(10.0):
        await lane.pause(1000.0)
        await woken.wait()
    assert (lane.busy, lane.failed) == (False, True)
    with pytest.raises(ValueError, match="why"):
        await lane.ended()
    assert not lane.failed
