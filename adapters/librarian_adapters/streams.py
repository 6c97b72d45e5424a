"""Closing a stream of outcomes for certain, so that its adapter has stopped when its reader goes on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

from librarian_adapters.contract import Outcome, Outcomes


@asynccontextmanager
async def closing(stream: AsyncIterator[Outcome | Outcomes]) -> AsyncGenerator[AsyncIterator[Outcome]]:
    """The outcomes one by one. Whoever reads :meth:`Adapter.fetch` needs this, or :func:`closing_together`."""
    async with closing_together(stream) as together, aclosing(_each(together)) as single:
        yield single


@asynccontextmanager
async def closing_together(
    stream: AsyncIterator[Outcome | Outcomes],
) -> AsyncGenerator[AsyncIterator[Outcome | Outcomes]]:
    """The stream as it is. It is closed on the way out, however that is.

    A generator that is merely dropped is finished by the garbage collector, some time later: it would write on.
    """
    try:
        yield stream
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()


def each_of(told: Outcome | Outcomes) -> Sequence[Outcome]:
    """The outcomes of what an adapter has yielded."""
    return told.outcomes if isinstance(told, Outcomes) else (told,)


async def _each(together: AsyncIterator[Outcome | Outcomes]) -> AsyncGenerator[Outcome]:
    async for told in together:
        for outcome in each_of(told):
            yield outcome
