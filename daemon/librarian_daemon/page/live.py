"""Sends changes to browsers by server-sent events. The page is rendered once for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager

from librarian_daemon.ports.time import Clock
from librarian_daemon.runtime.signals import Signal

EVERY_S = 1.0
#: Further browsers are told to try again later.
MAX_LISTENERS = 32


class Full(Exception):
    """There are ``MAX_LISTENERS`` already."""


class Live:
    """A service; it works only while there are listeners. ``render`` gives the whole changing part."""

    def __init__(self, render: Callable[[], Awaitable[str]], clock: Clock) -> None:
        self._render = render
        self._clock = clock
        self._listeners: set[asyncio.Queue[str]] = set()
        self._came = Signal()
        self._last = ""

    @contextmanager
    def listening(self) -> Generator[asyncio.Queue[str]]:
        """A queue of one text, the newest: an unread text is replaced.

        Raises:
            Full: too many listen.
        """
        if len(self._listeners) >= MAX_LISTENERS:
            raise Full
        queue: asyncio.Queue[str] = asyncio.Queue(maxsize=1)
        self._listeners.add(queue)
        self._last = ""  # the new listener gets the present text; so do the others, which does no harm
        self._came.set()
        try:
            yield queue
        finally:
            self._listeners.discard(queue)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            if not self._listeners:
                await self._came.wait(60)
                continue
            text = await self._render()
            if text != self._last:
                self._last = text
                for queue in self._listeners:
                    if queue.full():
                        queue.get_nowait()
                    queue.put_nowait(text)
            await self._clock.sleep(EVERY_S)
