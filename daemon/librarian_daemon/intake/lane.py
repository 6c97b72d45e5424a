"""Work that goes on beside its caller, one piece at a time: one batch lands while the next one is claimed and read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from librarian_adapters import tasks


class Lane:
    """At most one piece of work. Its caller waits for each piece, at the latest before it begins the next one."""

    def __init__(self, wake: Callable[[], None] = lambda: None) -> None:
        """``wake`` is called when a piece has failed."""
        self._wake = wake
        self._work: asyncio.Task[None] | None = None

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin it. :meth:`ended` was awaited since the last piece."""
        assert self._work is None
        self._work = asyncio.create_task(work)
        self._work.add_done_callback(self._done)

    def _done(self, work: asyncio.Task[None]) -> None:
        if work is self._work and self.failed:
            self._wake()

    @property
    def busy(self) -> bool:
        """Whether a piece goes on."""
        return self._work is not None and not self._work.done()

    @property
    def failed(self) -> bool:
        """Whether the last piece has ended, and :meth:`ended` would raise."""
        work = self._work
        return work is not None and work.done() and (work.cancelled() or work.exception() is not None)

    async def pause(self, timeout_s: float) -> None:
        """Wait until nothing goes on, but no longer than that; errors are :meth:`ended`'s to tell."""
        if self._work is not None:
            await asyncio.wait([self._work], timeout=timeout_s)

    async def ended(self) -> None:
        """Wait until nothing goes on. A caller that is cancelled cancels the work, and waits for its end.

        Raises:
            BaseException: what the work raised.
        """
        work = self._work
        if work is None:
            return
        try:
            await work
        finally:
            self._work = None

    async def stop(self) -> None:
        """Cancel the work and wait for its end; what it raises is not told."""
        work, self._work = self._work, None
        if work is not None:
            await tasks.stop(work)
