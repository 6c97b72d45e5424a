"""Serving an aiohttp application on TCP to strangers: bounds on connections, headers, bodies and patience.

Each bound answers a way of holding a server up: slow headers, huge headers, endless bodies, idle connections.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

#: Of one connection, at the source.
UNSENT_BYTES = 128 << 10


class ServerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds. What is beyond is refused by closing the connection, or with 400 or 413."""

    connections: Annotated[int, Meta(ge=1)] = 1024
    connections_per_ip: Annotated[int, Meta(ge=1)] = 128
    #: From the connection, or from the last answer, to the end of the next request's header.
    header_s: float = 5.0
    header_line_bytes: int = 8190
    header_lines: int = 64
    #: What a stop waits for requests under way, and once more for them to be cancelled. Whoever is cut off resumes.
    shutdown_s: float = 1.0


def application(body_bytes: int) -> web.Application:
    """An application whose requests have at most so large a body."""
    return web.Application(client_max_size=body_bytes)


class TcpServer:
    """An application listening on one address."""

    def __init__(self, app: web.Application, limits: ServerLimits | None = None) -> None:
        self._limits = limits or ServerLimits()
        self._runner = web.AppRunner(
            app,
            access_log=None,
            # aiohttp closes a connection on which no whole header came within this time, the first one included.
            keepalive_timeout=self._limits.header_s,
            # A body that nobody read is not kept: what comes of it is thrown away for so long, or the answer would be
            # lost with a connection closed upon bytes under way; then the connection is closed.
            lingering_time=1.0,
            max_line_size=self._limits.header_line_bytes,
            max_field_size=self._limits.header_line_bytes,
            max_headers=self._limits.header_lines,
            shutdown_timeout=self._limits.shutdown_s,
            handler_cancellation=True,
        )
        self._server: asyncio.Server | None = None
        self._open: Counter[str] = Counter()

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listen, with TLS if given. Port 0 takes a free one.

        Returns:
            The port.

        Raises:
            OSError: the address is taken or not ours.
        """
        await self._runner.setup()
        serve = self._runner.server
        assert serve is not None
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: _Capped(serve(), self._open, self._limits),
                host,
                port,
                backlog=128,
                ssl=tls,
                # Whoever does not finish the handshake has no connection yet, and no more patience than for a header.
                ssl_handshake_timeout=self._limits.header_s if tls else None,
                ssl_shutdown_timeout=self._limits.shutdown_s if tls else None,
            )
        except OSError:
            await self._runner.cleanup()
            raise
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Listen no more, let requests under way end for a while, close all connections. Idempotent."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._runner.cleanup()


def bound_unsent(sock: socket.socket | None) -> None:
    """Have the kernel keep little that is not on its way yet: what a dying link takes along is sent again.

    Not a bound on the window: what is under way on a long link is as much as ever.
    """
    if sock is not None and sock.family in {socket.AF_INET, socket.AF_INET6}:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)


class _Capped(asyncio.Protocol):
    """One connection: passes everything to aiohttp, unless there are too many of them."""

    def __init__(self, inner: asyncio.Protocol, open_connections: Counter[str], limits: ServerLimits) -> None:
        self._inner = inner
        self._open = open_connections
        self._limits = limits
        self._peer: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it, or cut it."""
        assert isinstance(transport, asyncio.Transport)
        name = transport.get_extra_info("peername")
        peer = str(name[0]) if name else "?"
        if self._open.total() >= self._limits.connections or self._open[peer] >= self._limits.connections_per_ip:
            transport.abort()
            return
        transport.set_write_buffer_limits(high=UNSENT_BYTES)
        bound_unsent(transport.get_extra_info("socket"))
        self._peer = peer
        self._open[peer] += 1
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        if self._peer is None:
            return
        self._open[self._peer] -= 1
        if not self._open[self._peer]:
            del self._open[self._peer]
        self._peer = None
        self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._peer is not None:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """The other side sends no more."""
        return self._inner.eof_received() if self._peer is not None else None

    def pause_writing(self) -> None:
        """The other side does not keep up."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """It does again."""
        self._inner.resume_writing()
