"""Blocking work in a store's own threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import count
from typing import ParamSpec, TypeVar, cast

from librarian_adapters.threads import outcome

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A")

#: Threads that wait for the disk; more of them make a disk's fsyncs cheaper, up to about here.
FSYNC_THREADS = 16


class Threads:
    """A few threads. When a caller is cancelled, no work goes on after it returns."""

    def __init__(self, name: str, fsync_threads: int = FSYNC_THREADS) -> None:
        self._pool = ThreadPoolExecutor(8, thread_name_prefix=f"{name}-io")
        # A second pool: work in the first pool waits for work in the second, so one pool could wait for itself for
        # ever.
        self._fsync = ThreadPoolExecutor(fsync_threads, thread_name_prefix=f"{name}-fsync")
        self._fsync_threads = fsync_threads

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do ``work`` in a thread. When cancelled, waits for its end first: a thread cannot be stopped."""
        return await self.run_stoppable(threading.Event(), work, *args, **kwargs)

    async def run_stoppable(self, stop: threading.Event, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As :meth:`run`, for work that looks at ``stop``, which is set when it is cancelled."""
        loop = asyncio.get_running_loop()
        return await outcome(loop.run_in_executor(self._pool, lambda: work(*args, **kwargs)), stop.set)

    def each(self, work: Callable[[A], T], items: Iterable[A]) -> list[T]:
        """``work`` on every item, many at once, results in order. Called from a thread of :meth:`run`.

        ``work`` returns its errors: the first one raised would hide the others. The threads take the items from one
        list: handing each over by itself would cost more than a small ``work``.
        """
        todo = list(items)
        if len(todo) == 1:
            return [work(todo[0])]
        results: list[T | None] = [None] * len(todo)
        number = count()

        def take() -> None:
            while (mine := next(number)) < len(todo):
                results[mine] = work(todo[mine])

        running = [self._fsync.submit(take) for _ in range(min(self._fsync_threads, len(todo)))]
        wait(running)  # all of them, also where one raises
        for one in running:
            one.result()
        return cast(list[T], results)

    def close(self) -> None:
        """End the threads once idle. Idempotent."""
        self._pool.shutdown(wait=False)
        self._fsync.shutdown(wait=False)
