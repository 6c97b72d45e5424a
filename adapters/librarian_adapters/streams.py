"""Closing a stream of outcomes for certain, so that its adapter has stopped when its reader goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

from librarian_adapters.contract import Outcome, Outcomes


@asynccontextmanager
async def closing(stream: AsyncIterator[Outcome | Outcomes]) -> AsyncGenerator[AsyncIterator[Outcome]]:
    """The outcomes one by one. Whoever reads :meth:`Adapter.fetch` needs this, or :func:`closing_together`."""
    async with closing_together(stream) as together:
        yield _Single(together)


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


class _Single(AsyncIterator[Outcome]):
    """Outcomes that came together, one by one. It is no generator: it has nothing to close."""

    def __init__(self, together: AsyncIterator[Outcome | Outcomes]) -> None:
        self._together = together
        self._left: deque[Outcome] = deque()

    async def __anext__(self) -> Outcome:
        while not self._left:
            self._left.extend(each_of(await anext(self._together)))
        return self._left.popleft()
