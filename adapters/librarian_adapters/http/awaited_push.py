"""Waits for a push: opens a ticket, asks for it by letter, and hands its one request to the waiting batch.

The request is read by the task that serves it, and written to staging by the task of the batch: when the batch is
given up, nothing is written any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

from librarian_adapters.contract import Pushes
from librarian_adapters.http.bundle import Asked
from librarian_adapters.http.push_letters import PUSH_ME, PushMe
from librarian_protocol import wire
from librarian_protocol.errors import SourceUnreachable, TransferError, TransferTimeout
from librarian_protocol.names import SiteName

#: Chunks that may wait for staging; a chunk is what one read of the connection gave.
_WAITING = 8


class Expected:
    """One ticket. :class:`librarian_adapters.contract.Push` for the task that serves the request."""

    def __init__(self, source: SiteName, content_type: str, *, begin_s: float, idle_s: float) -> None:
        self.source = source
        self.content_type = content_type
        self.begin = 0
        self.length: int | None = None
        self._begin_s = begin_s
        self._idle_s = idle_s
        self._room = asyncio.Semaphore(_WAITING)
        self._arrived: asyncio.Queue[bytes | TransferError | None] = asyncio.Queue()
        self._begun = asyncio.Event()
        self._over = asyncio.Event()
        self._error: TransferError | None = None

    # ---- the task that serves the request ----

    async def receive(self, chunks: AsyncIterator[bytes], begin: int, length: int | None) -> None:
        """See the contract."""
        self.begin, self.length = begin, length
        self._begun.set()
        broke: TransferError | None = SourceUnreachable(f"site {self.source}: the push broke off")
        try:
            async for chunk in chunks:
                await self._room.acquire()
                if self._over.is_set():
                    break
                self._arrived.put_nowait(chunk)
            else:
                broke = None
        finally:
            self._arrived.put_nowait(broke)
        await self._over.wait()
        if self._error is not None:
            raise self._error

    def end(self, error: TransferError) -> None:
        """Nothing more will come, and why."""
        self._arrived.put_nowait(error)
        self._begun.set()

    # ---- the task of the batch ----

    async def begun(self) -> None:
        """Wait for the request.

        Raises:
            TransferTimeout: it does not come.
        """
        try:
            async with asyncio.timeout(self._begin_s):
                await self._begun.wait()
        except TimeoutError as exc:
            raise TransferTimeout(
                f"site {self.source} was asked by letter and did not push within {self._begin_s:g} s",
                hint="is it up? does its bus link stand? do both clocks agree?",
            ) from exc

    async def chunks(self) -> AsyncGenerator[bytes]:
        """The body.

        Raises:
            SourceUnreachable, TransferTimeout: it broke off, or is silent.
            TransferError: the source refused.
        """
        while True:
            try:
                async with asyncio.timeout(self._idle_s):
                    chunk = await self._arrived.get()
            except TimeoutError as exc:
                raise TransferTimeout(f"site {self.source}: the push was silent for {self._idle_s:g} s") from exc
            if chunk is None:
                return
            if isinstance(chunk, TransferError):
                raise chunk
            self._room.release()
            yield chunk

    def close(self, error: TransferError | None) -> None:
        """Whoever serves the request may answer it. Nothing is taken any more."""
        self._error = error
        self._over.set()
        self._room.release()


@asynccontextmanager
async def expected(
    pushes: Pushes, expected: Expected, items: Sequence[Asked], *, bundle: bool, begin: int = 0
) -> AsyncGenerator[Expected]:
    """Open a ticket, ask for its use, and let it go when the block ends, however it ends.

    Raises:
        TransferError: no letter can be sent now.
    """
    ticket = pushes.new_ticket()
    error: TransferError | None = SourceUnreachable("the batch was given up")
    pushes.open(ticket, expected)
    try:
        letter = PushMe(ticket=ticket, expires=pushes.expires(), items=list(items), bundle=bundle, begin=begin)
        await pushes.ask(expected.source, PUSH_ME, wire.encode(letter))
        await expected.begun()
        yield expected
        error = None
    except TransferError as exc:
        error = exc
        raise
    finally:
        pushes.close(ticket)
        expected.close(error)
