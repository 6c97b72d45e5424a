"""Receives the body of a large answer into a ring of buffers, past aiohttp (docs/adr/0034).

aiohttp connects, sends the request and reads the answer's header. Then :func:`received` takes the connection: the
socket's bytes come straight into buffers that begin at a page, which a sink can give to the disk as they are. Behind
the last byte aiohttp gets the connection back, for the next request.
"""

from __future__ import annotations

import asyncio
import math
import mmap
from collections import deque
from collections.abc import AsyncGenerator

import aiohttp

#: One buffer: a hop to a thread costs some 100 µs, the disk takes this much in about 1 ms.
BUFFER_BYTES = 2 << 20
#: Some are filled while one is written. What aiohttp may have read of the body (2.3 MiB) fits.
BUFFERS = 4
#: What came is passed on after this time, however little: it counts as progress, and outlives a kill.
_FLUSH_S = 1.0


async def received(response: aiohttp.ClientResponse, begin: int, length: int) -> AsyncGenerator[memoryview]:
    """The body, in pieces that are good until the next one is asked for.

    ``begin`` is the first byte's offset in the file: all pieces but the last end at a multiple of
    :data:`BUFFER_BYTES` there, unless nothing more came for a while. ``length`` is the ``Content-Length``.
    Everything that came is passed on before an error is raised.

    Raises:
        aiohttp.ClientPayloadError: the connection broke.
        TimeoutError: no byte came for as long as the request was to be patient.
    """
    if not length:
        return
    body = _Body(begin, length)
    body.take(response.content.read_nowait())
    connection = response.connection
    # None: all of it was here with the header.
    if connection is not None and connection.transport is not None and connection.protocol is not None:
        handler, transport = connection.protocol, connection.transport
        patience_s = handler.read_timeout
        handler.read_timeout = None
        handler.start_timeout()  # stops aiohttp's own
        body.receive(transport, handler)
        async for piece in body.pieces(patience_s):
            yield piece
        if body.is_exact:  # else what came behind would be taken for the next answer
            transport.set_protocol(handler)
            response.content.feed_eof()
        return
    body.broken(None)
    async for piece in body.pieces(None):
        yield piece


class _Body(asyncio.BufferedProtocol):
    """Fills buffers, and stops reading where none is free."""

    def __init__(self, begin: int, length: int) -> None:
        ring = memoryview(mmap.mmap(-1, BUFFERS * BUFFER_BYTES))
        self._free = deque(ring[at : at + BUFFER_BYTES] for at in range(0, len(ring), BUFFER_BYTES))
        #: Offset in the file of the next byte that comes, and how many are still to come.
        self._at = begin
        self._left = length
        #: Whether nothing came behind the last byte.
        self.is_exact = True
        self._surplus = memoryview(bytearray(1))
        self._filled: deque[tuple[memoryview, int]] = deque()
        self._filling: memoryview | None = None
        self._filling_bytes = 0
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        #: When a byte came last, or reading began again.
        self._heard_s = self._loop.time()
        #: Why no more comes. What came before is passed on first.
        self._error: Exception | None = None
        self._transport: asyncio.Transport | None = None
        self._handler: asyncio.BaseProtocol | None = None

    # ---- the connection's side -----------------------------------------------------------------------------

    def take(self, data: bytes) -> None:
        """Bytes that were read already."""
        view = memoryview(data)[: self._left]
        while view:
            room = self.get_buffer(-1)
            count = min(len(room), len(view))
            room[:count] = view[:count]
            self.buffer_updated(count)
            view = view[count:]

    def receive(self, transport: asyncio.Transport, handler: asyncio.BaseProtocol) -> None:
        """Take the connection over. ``handler`` still hears of its end."""
        self._transport, self._handler = transport, handler
        transport.set_protocol(self)
        transport.resume_reading()  # aiohttp may have stopped; what it had read leaves room

    def _has_room(self) -> bool:
        return self._filling is not None or bool(self._free)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go: never more than are to come, and one that is not."""
        if not self._left:
            return self._surplus
        if self._filling is None:
            self._filling = self._free.popleft()
            self._filling_bytes = 0
        # Up to where the next piece begins at a multiple of the size.
        most = self._filling_bytes + BUFFER_BYTES - self._at % BUFFER_BYTES
        return self._filling[self._filling_bytes : min(most, self._filling_bytes + self._left, BUFFER_BYTES)]

    def buffer_updated(self, nbytes: int) -> None:
        """So many came."""
        if not self._left:
            self.is_exact = False
            if self._transport is not None:
                self._transport.pause_reading()
            return
        self._heard_s = self._loop.time()
        self._filling_bytes += nbytes
        self._at += nbytes
        self._left -= nbytes
        if not self._left or not self._at % BUFFER_BYTES:
            self._pass_on()
        if self._transport is not None and self._left and not self._has_room():
            self._transport.pause_reading()

    def _pass_on(self) -> None:
        """What was filled may be written."""
        if self._filling is not None and self._filling_bytes:
            self._filled.append((self._filling, self._filling_bytes))
            self._filling = None
        self._changed.set()

    def eof_received(self) -> bool:
        """The other side sends no more; the connection is closed, and its end told."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """It ended."""
        self.broken(exc)
        if self._handler is not None:
            self._handler.connection_lost(exc)

    def pause_writing(self) -> None:
        """Nothing is written."""

    def resume_writing(self) -> None:
        """Nothing is written."""

    def broken(self, exc: Exception | None) -> None:
        """No more bytes will come."""
        if self._left and self._error is None:
            self._error = aiohttp.ClientPayloadError(f"{self._left} bytes are missing")
            self._error.__cause__ = exc
        self._pass_on()

    # ---- the writer's side ---------------------------------------------------------------------------------

    async def pieces(self, patience_s: float | None) -> AsyncGenerator[memoryview]:
        """As :func:`received`."""
        while True:
            if not self._filled:
                if self._error is not None:
                    raise self._error
                if not self._left:
                    return
                await self._wait(patience_s)
                continue
            buffer, count = self._filled.popleft()
            yield buffer[:count]
            had_room = self._has_room()
            self._free.append(buffer)
            if self._transport is not None and not had_room and self._left:
                self._heard_s = self._loop.time()
                self._transport.resume_reading()

    async def _wait(self, patience_s: float | None) -> None:
        """Until there is something to write, or bytes that came have waited long enough, or it was silent too long."""
        self._changed.clear()
        silent_s = math.inf if patience_s is None else self._heard_s + patience_s
        timer = asyncio.timeout_at(min(silent_s, self._loop.time() + _FLUSH_S))
        try:
            async with timer:
                await self._changed.wait()
        except TimeoutError:
            if not timer.expired():
                raise
            if patience_s is not None and self._heard_s + patience_s <= self._loop.time():
                self._error = TimeoutError(f"no byte came for {patience_s:g} s")
            self._pass_on()
