"""A connection that is told to stop, stops: whatever the client library was doing just then."""

from __future__ import annotations

import asyncio
import socket

import pytest

from librarian_daemon.bus.connection import Connection, Target, heeding
from librarian_daemon.runtime.clock import SystemClock


@pytest.mark.parametrize("turns", range(60))
async def test_stopping_is_heeded_at_every_turn_of_connecting(turns: int) -> None:
    """Before Python 3.12, asyncio.wait_for loses a cancellation that comes at the same moment as its result."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there: refused at once
        target = Target(url=f"nats://127.0.0.1:{taken.getsockname()[1]}", name="test")
        running = asyncio.create_task(Connection(SystemClock(), target).run())
        for _ in range(turns):
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(running, 5)


async def test_a_swallowed_cancellation_is_raised_at_the_end_of_the_block() -> None:
    async def deaf() -> str:
        async with heeding():
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                return "nothing happened"
        return "slept"

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
