"""Serves an aiohttp application on TCP to strangers, with limits on connections, handshakes, headers, bodies and times.

Each limit prevents a way of blocking a server: half a TLS handshake, slow headers, huge headers, endless bodies, idle
connections. A stranger's input is repeated neither in an answer nor, except for a few short lines, in the log.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import traceback
from collections import Counter
from typing import Annotated

import msgspec
import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from msgspec import Meta

from librarian_daemon.runtime.machine import give_back

#: Of one connection, at the source.
UNSENT_BYTES = 128 << 10
#: After this many connections at once, memory is given back a moment after most of them are gone.
MANY = 32
_GONE_S = 1.0
_SHOWN_CHARS = 200
_log = structlog.get_logger(__name__)


class ServerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits. A request beyond them gets a closed connection, or 400 or 413."""

    #: With TLS each holds 256 KiB in asyncio, and some 50 in OpenSSL.
    connections: Annotated[int, Meta(ge=1)] = 512
    connections_per_ip: Annotated[int, Meta(ge=1)] = 128
    #: How many of these may be in a TLS handshake at once.
    handshakes: Annotated[int, Meta(ge=1)] = 64
    handshakes_per_ip: Annotated[int, Meta(ge=1)] = 32
    #: From the connection to the end of the TLS handshake.
    handshake_s: float = 5.0
    #: From the connection, the handshake or the last answer to the end of the next request's header.
    header_s: float = 5.0
    header_line_bytes: int = 8190
    header_lines: int = 64
    #: How long a stop waits for running requests, and again for their cancellation. Clients that are cut off resume.
    shutdown_s: float = 1.0


def application(body_bytes: int) -> web.Application:
    """An application with a maximum body size."""
    return web.Application(client_max_size=body_bytes)


class TcpServer:
    """An application listening on one address."""

    def __init__(self, app: web.Application, limits: ServerLimits | None = None) -> None:
        self._limits = limits or ServerLimits()
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=self._limits.shutdown_s, handler_cancellation=True
        )
        self._server: asyncio.Server | None = None
        self._open = Open(self._limits)

    @property
    def open(self) -> Open:
        """The connections that are open just now."""
        return self._open

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

        def connection() -> asyncio.Protocol:
            return _Connection(_handler(serve, loop, self._limits), self._open, self._limits, tls)

        try:
            self._server = await loop.create_server(connection, host, port, backlog=128)
        except OSError:
            await self._runner.cleanup()
            raise
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening, let running requests end for a while, close all connections. Idempotent."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._open.cut_handshakes()
        await self._runner.cleanup()


def _handler(server: web.Server, loop: asyncio.AbstractEventLoop, limits: ServerLimits) -> web.RequestHandler:
    return _Handler(
        server,
        loop=loop,
        access_log=None,  # type: ignore[arg-type] # aiohttp's own way to have none
        # aiohttp closes a connection on which no whole header came within this time, the first one included.
        keepalive_timeout=limits.header_s,
        # An unread body is discarded for this time, then the connection is closed: closing it at once, with bytes under
        # way, would lose the answer.
        lingering_time=1.0,
        max_line_size=limits.header_line_bytes,
        max_field_size=limits.header_line_bytes,
        max_headers=limits.header_lines,
        # The signature covers the bytes as sent; and nothing is unpacked for a stranger.
        auto_decompress=False,
    )


class _Handler(web.RequestHandler):
    """aiohttp's connection with other error handling: the original repeats the input in its answer, and logs a
    traceback.
    """

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """One line in the log, and an answer that says nothing but what kind of error it is."""
        self.log_exception("", exc_info=exc, method=request.method, path=request.path)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer is under way: there is no other")
        text = "this request cannot be read\n" if status < 500 else "something went wrong here\n"
        response = web.Response(status=status, text=text)
        response.force_close()
        return response

    def log_exception(self, *_args: object, **given: object) -> None:
        """See the base class. What strangers cause has no traceback."""
        exc, peer = given.pop("exc_info", None), self.peername
        shown = {key: str(value)[:_SHOWN_CHARS] for key, value in given.items()}
        remote = str(peer[0]) if isinstance(peer, tuple) else ""
        if isinstance(exc, HttpProcessingError | web.RequestPayloadError):
            why = str(exc)[:_SHOWN_CHARS]
            _log.warning("request_malformed", sparingly=True, remote=remote, kind=type(exc).__name__, error=why)
        else:
            _log.error("request_failed", sparingly=True, remote=remote, exc_info=exc, **shown)


def bound_unsent(sock: socket.socket | None) -> None:
    """Limit unsent bytes in the kernel: bytes that a failing link loses are sent again.

    This does not limit the window: bytes in transit on a long link are not affected.
    """
    if sock is not None and sock.family in {socket.AF_INET, socket.AF_INET6}:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)


class Open:
    """The connections of one server: how many, and how many of them in a TLS handshake, in all and by address."""

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self.connections: Counter[str] = Counter()
        self.handshakes: Counter[str] = Counter()
        self._shaking: set[asyncio.Task[None]] = set()
        #: The largest number at once since memory was given back.
        self._most = 0

    def has_room(self, peer: str, *, tls: bool) -> bool:
        """Whether one more may come from there."""
        limits = self._limits
        return (
            self.connections.total() < limits.connections
            and self.connections[peer] < limits.connections_per_ip
            and not (tls and self.handshakes.total() >= limits.handshakes)
            and not (tls and self.handshakes[peer] >= limits.handshakes_per_ip)
        )

    def begin(self, peer: str) -> None:
        """One more."""
        self.connections[peer] += 1
        self._most = max(self._most, self.connections.total())

    def end(self, peer: str) -> None:
        """One less. When most of many are gone, the system gets their memory back: the allocator would keep it."""
        take_one(self.connections, peer)
        if self._most >= MANY and self.connections.total() <= self._most // 4:
            self._most = 0
            asyncio.get_running_loop().call_later(_GONE_S, give_back)

    def begin_handshake(self, peer: str, task: asyncio.Task[None]) -> None:
        """It is counted until the task is done."""
        self.handshakes[peer] += 1
        self._shaking.add(task)

        def end(_task: asyncio.Task[None]) -> None:
            self._shaking.discard(task)
            take_one(self.handshakes, peer)

        task.add_done_callback(end)

    def cut_handshakes(self) -> None:
        """Close all connections."""
        for task in self._shaking:
            task.cancel()


def take_one(counted: Counter[str], peer: str) -> None:
    """One less; who has none is forgotten."""
    counted[peer] -= 1
    if not counted[peer]:
        del counted[peer]


class _Connection(asyncio.Protocol):
    """One connection, counted before any other work: then TLS, if configured, then aiohttp."""

    def __init__(
        self, inner: asyncio.Protocol, connections: Open, limits: ServerLimits, tls: ssl.SSLContext | None
    ) -> None:
        self._inner = inner
        self._open = connections
        self._limits = limits
        self._tls = tls
        self._peer: str | None = None
        self._is_served = False
        #: What came with the last message of the handshake: one read of asyncio's, 256 KiB at most.
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it, or cut it."""
        assert isinstance(transport, asyncio.Transport)
        name = transport.get_extra_info("peername")
        peer = str(name[0]) if name else "?"
        if not self._open.has_room(peer, tls=self._tls is not None):
            transport.abort()
            return
        self._peer = peer
        self._open.begin(peer)
        bound_unsent(transport.get_extra_info("socket"))
        if self._tls is None:
            self._serve(transport)
            return
        # No byte of the handshake may come to us instead of TLS.
        transport.pause_reading()
        task = asyncio.get_running_loop().create_task(self._shake(transport, self._tls, peer), name="tls handshake")
        self._open.begin_handshake(peer, task)

    async def _shake(self, transport: asyncio.Transport, tls: ssl.SSLContext, peer: str) -> None:
        if transport.is_closing():
            return
        try:
            secured = await asyncio.get_running_loop().start_tls(
                transport,
                self,
                tls,
                server_side=True,
                ssl_handshake_timeout=self._limits.handshake_s,
                ssl_shutdown_timeout=self._limits.shutdown_s,
            )
        except (OSError, asyncio.CancelledError) as exc:
            # asyncio's frames and this error hold one another, and 300 KiB: not until the collector comes by.
            traceback.clear_frames(exc.__traceback__)
            transport.abort()
            self._forget()
            if isinstance(exc, asyncio.CancelledError):
                raise
            _log.info("handshake_failed", sparingly=True, remote=peer, error=str(exc)[:_SHOWN_CHARS])
            return
        if secured is not None and self._peer is not None:
            self._serve(secured)

    def _serve(self, transport: asyncio.Transport) -> None:
        transport.set_write_buffer_limits(high=UNSENT_BYTES)
        self._is_served = True
        self._inner.connection_made(transport)
        early, self._early = self._early, []
        for data in early:
            self._inner.data_received(data)

    def _forget(self) -> None:
        if self._peer is not None:
            self._open.end(self._peer)
            self._peer = None

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        self._forget()
        if self._is_served:
            self._is_served = False
            self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes arrived."""
        if self._is_served:
            self._inner.data_received(data)
        elif self._peer is not None:
            self._early.append(data)

    def eof_received(self) -> bool | None:
        """The other side sends no more."""
        return self._inner.eof_received() if self._is_served else None

    def pause_writing(self) -> None:
        """The other side does not keep up."""
        if self._is_served:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """The other side keeps up again."""
        if self._is_served:
            self._inner.resume_writing()
