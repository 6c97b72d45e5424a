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
