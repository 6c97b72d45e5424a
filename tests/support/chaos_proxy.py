"""A bad link between two sites: an asyncio TCP proxy that cuts, goes silent, slows down and delays, as told.

It is up when it is made. Chance comes from a seed. Everything is bounded: a direction holds one chunk.
"""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Self

_CHUNK_BYTES = 16 << 10
#: Small socket buffers: what has left the sender is mostly under way, not stored before the proxy.
_BUFFER_BYTES = 64 << 10


class ChaosProxy:
    """Listens on ``address`` and passes every connection on to ``target`` (host, port).

    * :meth:`cut` closes every connection and refuses new ones; :meth:`mend` ends it.
    * :meth:`swallow` keeps connections open, accepts new ones, and lets no byte pass: half-open. Bytes that come
      meanwhile are lost, so :meth:`mend` closes these connections.
    * ``bytes_per_s`` bounds both directions together; ``delay_s`` (and up to ``jitter_s`` more) holds each chunk.
    """

    def __init__(
        self,
        target: tuple[str, int] = ("127.0.0.1", 0),
        *,
        seed: int = 0,
        bytes_per_s: float | None = None,
        delay_s: float = 0.0,
        jitter_s: float = 0.0,
    ) -> None:
        self.target = target
        self.bytes_per_s = bytes_per_s
        self.delay_s = delay_s
        self.jitter_s = jitter_s
        #: Bytes passed on, client to target and back.
        self.passed_up = 0
        self.passed_down = 0
        self.connections = 0
        self.random = random.Random(seed)
        self._up = True
        self._swallowing = False
        self._free_at = 0.0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def address(self) -> str:
        """``HOST:PORT`` to dial."""
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        listening.bind(("127.0.0.1", self.port))
        self._server = await asyncio.start_server(self._accepted, sock=listening, limit=_BUFFER_BYTES)
        self.port = int(listening.getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self._end_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ---- what a test does --------------------------------------------------------------------------------

    def cut(self) -> None:
        """Down: connections end now, new ones are closed at once."""
        self._up = False
        self._end_all()

    def swallow(self) -> None:
        """Half-open: connections stay, bytes do not pass, nobody is told."""
        self._swallowing = True

    def mend(self) -> None:
        """Up again. What was half-open ends."""
        if self._swallowing:
            self._end_all()
        self._up, self._swallowing = True, False

    async def flap(self, *, up_s: float = 2.0, down_s: float = 2.0, half_open_every: int = 3) -> None:
        """Up and down until cancelled; every so many downs are half-open ones."""
        downs = 0
        try:
            while True:
                await asyncio.sleep(up_s)
                downs += 1
                if half_open_every and downs % half_open_every == 0:
                    self.swallow()
                else:
                    self.cut()
                await asyncio.sleep(down_s)
                self.mend()
        finally:
            self.mend()

    def _end_all(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    # ---- passing on --------------------------------------------------------------------------------------

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._connection(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connection(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        self._open.add(back)
        self.connections += 1
        on: asyncio.StreamWriter | None = None
        try:
            if not self._up:
                return
            far_socket = socket.socket()
            far_socket.setblocking(False)
            far_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            far_socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
            with suppress(OSError):
                await asyncio.get_running_loop().sock_connect(far_socket, self.target)
                far, on = await asyncio.open_connection(sock=far_socket, limit=_BUFFER_BYTES)
                self._open.add(on)
                await asyncio.gather(self._pass(near, on, self._count_up), self._pass(far, back, self._count_down))
            if on is None:
                far_socket.close()
        finally:
            for writer in (back, on):
                if writer is not None:
                    writer.transport.abort()
                    self._open.discard(writer)

    def _count_up(self, size_bytes: int) -> None:
        self.passed_up += size_bytes

    def _count_down(self, size_bytes: int) -> None:
        self.passed_down += size_bytes

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: Callable[[int], None]
    ) -> None:
        while chunk := await reader.read(_CHUNK_BYTES):
            await self._pace(len(chunk))
            if self._swallowing:
                await asyncio.get_running_loop().create_future()  # until the connection is ended
            writer.write(chunk)
            await writer.drain()
            count(len(chunk))
        with suppress(OSError, RuntimeError):
            writer.write_eof()

    async def _pace(self, size_bytes: int) -> None:
        now = asyncio.get_running_loop().time()
        wait_s = self.delay_s + self.random.random() * self.jitter_s
        if self.bytes_per_s:
            self._free_at = max(self._free_at, now) + size_bytes / self.bytes_per_s
            wait_s += self._free_at - now
        if wait_s > 0:
            await asyncio.sleep(wait_s)


class ThreadedProxy:
    """A proxy on a loop of its own, for tests that are not asynchronous themselves."""

    def __init__(self, port: int, *, bytes_per_s: float | None = None, seed: int = 0) -> None:
        self.proxy = ChaosProxy(("127.0.0.1", port), bytes_per_s=bytes_per_s, seed=seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._flapping: Future[None] | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.proxy.__aenter__(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.steady()
        asyncio.run_coroutine_threadsafe(self.proxy.__aexit__(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def flap(self, **pace: float) -> None:
        """See :meth:`ChaosProxy.flap`."""
        self._flapping = asyncio.run_coroutine_threadsafe(self.proxy.flap(**pace), self._loop)  # type: ignore[arg-type]  # half_open_every is left alone

    def steady(self) -> None:
        """Flap no more."""
        if self._flapping is not None:
            self._flapping.cancel()
            self._flapping = None
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self._loop).result(10)
