"""Heads of other sites are heard again after every loss of the connection, however short it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from nats.aio.client import Client
from nats.aio.msg import Msg

from librarian_daemon.bus.connection import Connection, Session
from librarian_daemon.bus.routing import Addressing
from librarian_daemon.bus.rpc import Talking
from librarian_daemon.runtime.clock import SystemClock, SystemRng
from librarian_protocol import subjects
from librarian_protocol.names import SiteName

SITE, PEER = SiteName.parse("archive"), SiteName.parse("summit")


class _Client:
    """As much of nats-py's as listening needs."""

    def __init__(self) -> None:
        self.listening: dict[str, Callable[[Msg], Awaitable[None]]] = {}

    async def subscribe(self, subject: str, cb: Callable[[Msg], Awaitable[None]]) -> _Client:
        self.listening[subject] = cb
        return self

    async def unsubscribe(self) -> None:
        self.listening.clear()


class _Connection:
    """A connection that is there again before anybody has looked."""

    def __init__(self) -> None:
        self.client = _Client()
        self.current = Session(cast(Client, self.client))

    async def session(self, _: float | None) -> Session:
        return self.current

    async def lose(self) -> None:
        lost, self.client = self.current, _Client()
        self.current = Session(cast(Client, self.client))
        await lost.end()

    async def say(self, data: bytes) -> None:
        subject = subjects.head(PEER)
        async with asyncio.timeout(30):
            while subject not in self.client.listening:
                await asyncio.sleep(0)
        await self.client.listening[subject](Msg(cast(Any, None), subject=subject, data=data))


async def test_heads_are_heard_after_a_connection_that_came_back_at_once() -> None:
    connection = _Connection()
    talking = Talking(
        cast(Connection, connection), cast(Callable[[], Addressing], None), SystemClock(), SystemRng(), SITE
    )
    talking.listen_to([PEER])
    heads = talking.heads()
    for said in (b"1", b"2", b"3"):
        hearing = asyncio.ensure_future(anext(heads))
        await connection.say(said)
        async with asyncio.timeout(30):
            assert await hearing == (PEER, said)
        await connection.lose()
    await heads.aclose()
