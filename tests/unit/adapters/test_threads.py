"""Threads are never left behind."""

from __future__ import annotations

import asyncio
import threading

import pytest

from librarian_adapters.threads import in_thread


async def test_a_thread_is_waited_for_however_often_its_caller_is_cancelled() -> None:
    began, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        go_on.wait(60)
        ended.set()

    task = asyncio.create_task(in_thread(work))
    assert await asyncio.to_thread(began.wait, 60)
    for _ in range(3):
        task.cancel()
        for _ in range(5):  # every callback that a cancellation schedules has run
            await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
