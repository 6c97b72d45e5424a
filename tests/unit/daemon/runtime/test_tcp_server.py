"""The server before strangers: slow, many, large (fault matrix, row 45)."""

from __future__ import annotations

import asyncio
import gc
import gzip
import re
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from librarian_daemon.runtime import certificates
from librarian_daemon.runtime.tcp_server import MANY, ServerLimits, TcpServer, application

LIMITS = ServerLimits(connections=8, connections_per_ip=5, header_s=0.3, header_lines=20, shutdown_s=0.2)


async def hello(_request: web.Request) -> web.Response:
    return web.Response(text="hello")


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


async def raises(_request: web.Request) -> web.Response:
    raise ValueError("y" * 4000)


def server_of(limits: ServerLimits) -> TcpServer:
    app = application(1000)
    app.add_routes([web.get("/", hello), web.post("/", echo), web.post("/raises", raises)])
    return TcpServer(app, limits)


@asynccontextmanager
async def serving(limits: ServerLimits) -> AsyncGenerator[int]:
    server = server_of(limits)
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


async def test_what_cannot_be_read_is_not_repeated(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    for said in (
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 4000 + b"\0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"y" * 4000 + b"\r\n\r\n",
        b"POST /raises HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n" + b"y" * 4000,
    ):
        stranger = await Stranger.at(port)
        await stranger.says(said)
        answer = await stranger.hears_end()
        assert re.match(rb"HTTP/1.. [45]0[0-9] ", answer)
        assert b"yyy" not in answer
        assert b"Traceback" not in answer
    assert len(capfd.readouterr().err) < 6000


async def test_nothing_is_unpacked_for_a_stranger(port: int) -> None:
    stranger = await Stranger.at(port)
    packed = gzip.compress(b"x" * 100_000)
    head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nConnection: close\r\nContent-Length: {len(packed)}"
    await stranger.says(head.encode() + b"\r\n\r\n" + packed)
    assert (await stranger.hears_end()).endswith(packed)


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


# ---- TLS -----------------------------------------------------------------------------------------------


class Secured:
    """A server with TLS, and strangers who begin to speak with it."""

    def __init__(self, directory: Path, limits: ServerLimits) -> None:
        made = certificates.load_or_make(directory, "summit", [])
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(made.path, made.key_path)
        self.client = ssl.create_default_context(cafile=str(made.path))
        self.server = server_of(limits)
        self.port = 0

    async def start(self) -> None:
        self.port = await self.server.start("127.0.0.1", 0, self._context)

    async def half_open(self) -> Stranger:
        came, hello = ssl.MemoryBIO(), ssl.MemoryBIO()
        with suppress(ssl.SSLWantReadError):
            self.client.wrap_bio(came, hello, server_hostname="localhost").do_handshake()
        stranger = await Stranger.at(self.port)
        await stranger.says(hello.read())
        return stranger

    async def is_served(self) -> bool:
        stranger = Stranger(
            *await asyncio.open_connection("127.0.0.1", self.port, ssl=self.client, server_hostname="localhost")
        )
        await stranger.says(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return (await stranger.hears_end()).endswith(b"hello")

    async def nobody_is_left(self) -> None:
        async with asyncio.timeout(5):
            while self.server.open.connections or self.server.open.handshakes:
                await asyncio.sleep(0.01)


TLS_LIMITS = ServerLimits(connections=20, connections_per_ip=20, handshakes=5, handshake_s=60, shutdown_s=0.2)


async def test_handshakes_are_bounded_before_anything_is_done_for_them(tmp_path: Path) -> None:
    secured = Secured(tmp_path, TLS_LIMITS)
    await secured.start()
    strangers = [await secured.half_open() for _ in range(5)]
    for stranger in strangers:
        assert await stranger.reader.read(1) != b""  # the server's part of the handshake
    assert secured.server.open.handshakes.total() == 5
    for _ in range(20):
        assert await (await secured.half_open()).hears_end() == b""
    assert secured.server.open.connections.total() == 5
    for stranger in strangers:
        stranger.writer.transport.abort()
    await secured.nobody_is_left()
    assert await secured.is_served()
    await secured.nobody_is_left()
    await secured.server.stop()


async def test_one_address_has_a_share_of_the_handshakes(tmp_path: Path) -> None:
    secured = Secured(tmp_path, msgspec.structs.replace(TLS_LIMITS, handshakes=20, handshakes_per_ip=3))
    await secured.start()
    strangers = [await secured.half_open() for _ in range(3)]
    for stranger in strangers:
        assert await stranger.reader.read(1) != b""
    assert await (await secured.half_open()).hears_end() == b""
    await secured.server.stop()  # ends handshakes that are under way
    for stranger in strangers:
        await stranger.hears_end()
    await secured.nobody_is_left()


async def test_a_handshake_that_does_not_end_in_time_ends_the_connection(tmp_path: Path) -> None:
    secured = Secured(tmp_path, msgspec.structs.replace(TLS_LIMITS, handshake_s=0.3))
    await secured.start()
    assert await (await secured.half_open()).hears_end() != b""
    silent = await Stranger.at(secured.port)
    assert await silent.hears_end() == b""
    plain = await Stranger.at(secured.port)
    await plain.says(REQUEST)
    assert b"HTTP" not in await plain.hears_end()
    await secured.nobody_is_left()
    assert await secured.is_served()
    await secured.server.stop()


async def test_what_a_handshake_held_is_free_without_the_collector(tmp_path: Path) -> None:
    secured = Secured(tmp_path, TLS_LIMITS)
    await secured.start()
    gc.collect()
    gc.disable()
    try:
        for stranger in [await secured.half_open() for _ in range(5)]:
            assert await stranger.reader.read(1) != b""
            stranger.writer.transport.abort()
        assert await secured.is_served()
        await secured.nobody_is_left()
        await secured.server.stop()
        servers = [thing for thing in gc.get_objects() if isinstance(thing, SSLProtocol) and thing._server_side]
        assert servers == []
    finally:
        gc.enable()


async def test_memory_is_given_back_when_most_of_many_connections_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    given = asyncio.Event()
    monkeypatch.setattr("librarian_daemon.runtime.tcp_server.give_back", given.set)
    limits = ServerLimits(header_s=60)
    async with serving(limits) as port:
        strangers = [await Stranger.at(port) for _ in range(MANY)]
        for stranger in strangers:
            await stranger.says(REQUEST)
            await stranger.hears_line()
        assert not given.is_set()
        for stranger in strangers:
            stranger.writer.transport.abort()
        async with asyncio.timeout(5):
            await given.wait()
