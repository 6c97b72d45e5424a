"""Reads a stream ahead of who takes its messages: the next segments are opened while those before are committed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import NamedTuple

from librarian_daemon.ports.bus import Message
from librarian_protocol.authenticity import Signed

#: Segments that are taken in one transaction: two change pages of the catalog in common, and are synced once. More
#: would keep a landing waiting that ends meanwhile. As many again wait, opened.
TOGETHER = 2


class Arrived(NamedTuple):
    """A message in its turn."""

    message: Message
    #: Its segment, opened ahead; None where it has none, or one that must be opened when it is taken.
    signed: Signed | None


class Waiting:
    """The messages that are read and not taken yet."""

    def __init__(self) -> None:
        self._arrived: asyncio.Queue[Arrived] = asyncio.Queue(TOGETHER)

    async def some(self) -> list[Arrived]:
        """The next one, and what waits behind it: :data:`TOGETHER` at most."""
        found = [await self._arrived.get()]
        while len(found) < TOGETHER and not self._arrived.empty():
            found.append(self._arrived.get_nowait())
        return found

    async def fill(self, messages: AsyncGenerator[Message], opened: Callable[[Message], Signed | None]) -> None:
        """Read until cancelled."""
        async with aclosing(messages):
            async for message in messages:
                await self._arrived.put(Arrived(message, opened(message)))


@asynccontextmanager
async def read_ahead(
    messages: AsyncGenerator[Message], opened: Callable[[Message], Signed | None]
) -> AsyncGenerator[Waiting]:
    """The messages, which come for ever, in their order. They are closed at the end."""
    waiting = Waiting()
    async with asyncio.TaskGroup() as group:
        filling = group.create_task(waiting.fill(messages, opened))
        try:
            yield waiting
        finally:
            filling.cancel()
