"""The server before strangers: slow, many, large (fault matrix, row 45)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from librarian_daemon.server import ServerLimits, TcpServer, application

LIMITS = ServerLimits(connections=8, connections_per_ip=5, header_s=0.3, header_lines=20, shutdown_s=0.2)


async def hello(_request: web.Request) -> web.Response:
    return web.Response(text="hello")


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


@asynccontextmanager
async def serving(limits: ServerLimits) -> AsyncGenerator[int]:
    app = application(1000)
    app.add_routes([web.get("/", hello), web.post("/", echo)])
    server = TcpServer(app, limits)
    yield await server.start("127.0.0.1", 0)
    await server.stop()


@pytest.fixture
async def port() -> AsyncGenerator[int]:
    async with serving(LIMITS) as port:
        yield port


class Stranger:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def at(cls, port: int) -> Stranger:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def says(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def hears_end(self) -> bytes:
        """All that comes until the server closes the connection."""
        async with asyncio.timeout(5):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""
            finally:
                self.writer.transport.abort()

    async def hears_line(self) -> bytes:
        async with asyncio.timeout(5):
            return await self.reader.readuntil(b"\r\n")


REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_a_good_request_is_answered(port: int) -> None:
    stranger = await Stranger.at(port)
    await stranger.says(REQUEST)
    assert await stranger.hears_line() == b"HTTP/1.1 200 OK\r\n"
    stranger.writer.transport.abort()


@pytest.mark.parametrize("said", [b"", b"G", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_a_header_that_does_not_end_in_time_ends_the_connection(port: int, said: bytes) -> None:
    stranger = await Stranger.at(port)
    await stranger.says(said)
    assert await stranger.hears_end() == b""


async def test_dripping_header_lines_do_not_buy_time(port: int) -> None:
    stranger = await Stranger.at(port)

    async def drip() -> None:
        await stranger.says(b"GET / HTTP/1.1\r\nHost: x\r\n")
        for number in range(1000):
            await stranger.says(b"X-%d: y\r\n" % number)
            await asyncio.sleep(0.05)

    dripping = asyncio.create_task(drip())
    assert await stranger.hears_end() == b""
    dripping.cancel()
    await asyncio.gather(dripping, return_exceptions=True)


async def test_a_second_request_on_a_connection_has_no_more_time_than_the_first(port: int) -> None:
    stranger = await Stranger.at(port)
    await stranger.says(REQUEST)
    assert await stranger.hears_line() == b"HTTP/1.1 200 OK\r\n"
    await stranger.says(REQUEST[:10])
    assert (await stranger.hears_end()).endswith(b"hello")


@pytest.mark.parametrize(
    "said",
    [
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 5_000 + b"\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
async def test_a_header_beyond_the_limits_is_a_bad_request(port: int, said: bytes) -> None:
    stranger = await Stranger.at(port)
    await stranger.says(said)
    assert (await stranger.hears_end()).startswith(b"HTTP/1.0 400 Bad Request")


async def test_a_body_beyond_the_limit_is_too_large(port: int) -> None:
    stranger = await Stranger.at(port)
    await stranger.says(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n" + b"x" * 1001)
    assert await stranger.hears_line() == b"HTTP/1.1 413 Request Entity Too Large\r\n"
    stranger.writer.transport.abort()


@pytest.mark.parametrize(("connections", "per_ip"), [(8, 5), (5, 8)])
async def test_more_connections_than_allowed_are_cut(connections: int, per_ip: int) -> None:
    async with serving(ServerLimits(connections=connections, connections_per_ip=per_ip, header_s=60)) as port:
        strangers = [await Stranger.at(port) for _ in range(5)]
        assert await (await Stranger.at(port)).hears_end() == b""
        await strangers[0].says(REQUEST)
        assert await strangers[0].hears_line() == b"HTTP/1.1 200 OK\r\n"
        for stranger in strangers:
            stranger.writer.transport.abort()


async def test_a_connection_that_ends_makes_room_for_another() -> None:
    async with serving(ServerLimits(connections_per_ip=1, header_s=60)) as port:
        for _ in range(5):
            stranger = await Stranger.at(port)
            await stranger.says(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert (await stranger.hears_end()).endswith(b"hello")


async def test_an_address_that_is_taken_is_an_error_and_leaves_nothing_behind(port: int) -> None:
    server = TcpServer(application(1000), LIMITS)
    with pytest.raises(OSError, match="address already in use"):
        await server.start("127.0.0.1", port)
    await server.stop()


async def test_a_stop_closes_idle_connections_at_once() -> None:
    server = TcpServer(application(1000), LIMITS)
    stranger = await Stranger.at(await server.start("127.0.0.1", 0))
    await server.stop()
    await server.stop()
    assert await stranger.hears_end() == b""
