"""Who looks at the page is told what changed; nobody makes the daemon work more by looking often, or by not reading."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from tests.support.stepping import SteppedClock

from librarian_daemon.page.live import MAX_LISTENERS, Full, Live


class Page:
    """What is rendered."""

    def __init__(self) -> None:
        self.text = "first"
        self.rendered = 0

    async def render(self) -> str:
        self.rendered += 1
        return self.text


@asynccontextmanager
async def running(live: Live) -> AsyncGenerator[None]:
    service = asyncio.create_task(live.run())
    try:
        yield
    finally:
        service.cancel()
        await asyncio.gather(service, return_exceptions=True)


async def test_a_newcomer_is_told_at_once_and_then_what_changed() -> None:
    page, time = Page(), SteppedClock()
    live = Live(page.render, time)
    async with running(live):
        with live.listening() as queue:
            assert await queue.get() == "first"
            await time.look_again()
            assert queue.empty(), "nothing changed"
            page.text = "second"
            await time.look_again()
            assert queue.get_nowait() == "second"


async def test_one_rendering_is_for_all() -> None:
    page, time = Page(), SteppedClock()
    live = Live(page.render, time)
    async with running(live):
        with live.listening() as queue, live.listening() as other:
            assert await queue.get() == await other.get() == "first"
            assert page.rendered == 1


async def test_who_does_not_read_finds_the_newest() -> None:
    page, time = Page(), SteppedClock()
    live = Live(page.render, time)
    async with running(live):
        with live.listening() as queue:
            await time.sleeping.wait()
            for text in ("second", "third"):
                page.text = text
                await time.look_again()
            assert queue.get_nowait() == "third"
            assert queue.empty()


async def test_nothing_is_rendered_while_nobody_looks() -> None:
    page, time = Page(), SteppedClock()
    live = Live(page.render, time)
    async with running(live):
        with live.listening() as queue:
            await queue.get()
        page.text = "second"
        time.tick.set()
        for _ in range(5):
            await asyncio.sleep(0)
        assert page.rendered == 1
        with live.listening() as queue:
            assert await queue.get() == "second"


async def test_too_many_are_told_to_come_again() -> None:
    live = Live(Page().render, SteppedClock())
    held = [live.listening() for _ in range(MAX_LISTENERS)]
    for listening in held:
        listening.__enter__()
    with pytest.raises(Full), live.listening():
        pass
    held.pop().__exit__(None, None, None)
    with live.listening():
        pass
    for listening in held:
        listening.__exit__(None, None, None)
