"""Servers that do what no honest source does, byte by byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def read_request(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """The request line and the body of one request."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    length = next((int(line[15:]) for line in lines if line.lower().startswith("content-length:")), 0)
    return lines[0], await reader.readexactly(length)


@asynccontextmanager
async def serving(answer: Answer) -> AsyncGenerator[str]:
    """A server whose every connection is given to ``answer``; its address."""
    running: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # The client hangs up on such a server, as it should.
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await answer(reader, writer)
        finally:
            writer.transport.abort()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.add(asyncio.create_task(run(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def saying(*pieces: bytes, linger: bool = False) -> Answer:
    """Reads a request, sends the pieces, then closes, or stays silent."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if linger:
            await reader.read()
        writer.close()
        await writer.wait_closed()

    return answer


def answering(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """A whole HTTP answer; ``length`` other than the body's is a lie."""
    length = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {length}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Proxy:
    """Passes TCP on to ``port``; breaks each connection after ``cut_after`` bytes of answers, while that is set."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.cut_after: int | None = None
        self.connections = 0
        #: Bytes of answers that were passed on.
        self.passed = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection. For :func:`serving`."""
        self.connections += 1
        from_source, to_source = await asyncio.open_connection("127.0.0.1", self._port)
        up = asyncio.create_task(_pass(reader, to_source))
        try:
            passed = 0
            while chunk := await from_source.read(16 << 10):
                if self.cut_after is not None:
                    chunk = chunk[: self.cut_after - passed]
                writer.write(chunk)
                await writer.drain()
                passed += len(chunk)
                self.passed += len(chunk)
                if passed == self.cut_after:
                    writer.close()
                    await writer.wait_closed()
                    break
        finally:
            up.cancel()
            to_source.transport.abort()
            await asyncio.gather(up, return_exceptions=True)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(16 << 10):
        writer.write(chunk)
        await writer.drain()
