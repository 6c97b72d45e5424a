"""Closing a stream of outcomes for certain, so that its adapter has stopped when its reader goes on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from librarian_adapters.contract import Outcome


@asynccontextmanager
async def closing(stream: AsyncIterator[Outcome]) -> AsyncGenerator[AsyncIterator[Outcome]]:
    """Close the stream on the way out, however that is. Whoever reads :meth:`Adapter.fetch` needs this.

    A generator that is merely dropped is finished by the garbage collector, some time later: it would write on.
    """
    try:
        yield stream
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()
