"""An event loop with a virtual clock and an order of wake-ups drawn from a seed; processes in it can be killed.

A killed process is not cancelled: what it was about to do never happens, and no ``finally`` of it runs, as after
SIGKILL. Sockets, threads and subprocesses are not there, so whatever would use them fails loudly.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
import random
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar, cast

T = TypeVar("T")
#: A virtual second has no more wake-ups than this, or something runs in circles.
MOST_STEPS_A_SECOND = 400_000


class Process:
    """Whose work it is. ``dead``: it was killed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        #: Wake-ups before that time are put off: SIGSTOP, or a machine that is paused.
        self.frozen_until_s = 0.0


PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class SimTask(asyncio.Task[Any]):
    """A task with a number, so that sets of tasks have the same order in every run."""

    def __init__(self, coro: Coroutine[Any, Any, Any], *, loop: SimLoop, **kwargs: Any) -> None:
        self.number = next(loop.numbers)
        context = kwargs.get("context")
        self.process = PROCESS.get() if context is None else context.get(PROCESS)
        kwargs["name"] = kwargs.get("name") or f"T{self.number}"
        super().__init__(coro, loop=loop, **kwargs)

    def __hash__(self) -> int:
        return self.number


class SimFuture(asyncio.Future[Any]):
    """As :class:`SimTask`; it has a number from when somebody asks for it."""

    number: int | None = None

    def __hash__(self) -> int:
        if self.number is None:
            self.number = next(cast(SimLoop, self.get_loop()).numbers)
        return self.number


class _Handle:
    """As much of asyncio's own as is used, and whose it is: half of what a wake-up costs would be the making of it."""

    __slots__ = ("__weakref__", "_args", "_callback", "_context", "cancelled_", "process")

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: contextvars.Context | None
    ) -> None:
        if context is None:
            context = contextvars.copy_context()
        self._callback = callback
        self._args = args
        self._context = context
        self.process: Process | None = context.get(PROCESS)
        self.cancelled_ = False

    def cancel(self) -> None:
        self.cancelled_ = True

    def cancelled(self) -> bool:
        return self.cancelled_

    def run(self) -> None:
        self._context.run(self._callback, *self._args)


def new_loop(seed: int) -> SimLoop:
    """A loop. What of a loop it does not have fails loudly when it is used, so it is made although it is abstract."""
    made: Any = type("Loop", (SimLoop,), {})
    made.__abstractmethods__ = frozenset()
    loop: SimLoop = made(seed)
    return loop


class Stuck(Exception):
    """Nothing is left that could ever happen, or too much happens in no time."""


class SimLoop(asyncio.AbstractEventLoop):
    """See the module."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.numbers = itertools.count(1)
        self.steps = 0
        self.now_s = 0.0
        self.trouble: list[str] = []
        self._ready: list[_Handle] = []
        self._heap: list[tuple[float, int, _Handle]] = []
        #: What the dead were about to do: kept, so that nothing of theirs is finalised.
        self._grave: list[object] = []
        self._window = (0, 0)
        #: The next wake-up is that of a task that pauses so long.
        self._pause_s = 0.0

    # ---- what asyncio asks for ---------------------------------------------------------------------------

    def time(self) -> float:
        return self.now_s

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    # Cancelled ones are passed over when their time comes.
    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]
        handle = _Handle(callback, args, context)
        if self._pause_s:
            heapq.heappush(self._heap, (self.now_s + self._pause_s, next(self.numbers), handle))
            self._pause_s = 0.0
        else:
            self._ready.append(handle)
        return cast(asyncio.Handle, handle)

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:  # type: ignore[override]
        timer = _Handle(callback, args, context)
        heapq.heappush(self._heap, (when, next(self.numbers), timer))
        return cast(asyncio.TimerHandle, timer)

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:  # type: ignore[override]
        return self.call_at(self.now_s + delay, callback, *args, context=context)

    @types.coroutine
    def pause(self, seconds: float) -> Generator[None]:
        """Sleep in half of the wake-ups. Cancelled meanwhile, it is cancelled at its end."""
        self._pause_s = seconds
        yield

    def create_future(self) -> SimFuture:
        return SimFuture(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Any = None) -> SimTask:
        return SimTask(coro, loop=self, name=name, context=context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.trouble.append(f"{context.get('message')}: {context.get('exception')!r}")

    async def shutdown_asyncgens(self) -> None:
        """Generators of the dead stay where they are."""

    # ---- running -----------------------------------------------------------------------------------------

    def run_until(self, done: Callable[[], bool], until_s: float) -> bool:
        """Run until ``done`` says so (True), or until the virtual time is over (False).

        Raises:
            Stuck: see there.
        """
        asyncio._set_running_loop(self)
        try:
            while not self.trouble:
                if done():
                    return True
                if self.now_s > until_s:
                    return False
                self._step()
            return False
        finally:
            asyncio._set_running_loop(None)

    def _step(self) -> None:
        while self._heap and self._heap[0][0] <= self.now_s:
            self._ready.append(heapq.heappop(self._heap)[2])
        if not self._ready:
            if not self._heap:
                raise Stuck("nothing is left that could ever happen")
            self.now_s = self._heap[0][0]
            return
        at = int(self.chance.random() * len(self._ready))
        handle = self._ready[at]
        self._ready[at] = self._ready[-1]
        self._ready.pop()
        if handle.cancelled_:
            return
        process = handle.process
        if process is not None:
            if process.dead:
                self._grave.append(handle)
                return
            if process.frozen_until_s > self.now_s:
                heapq.heappush(self._heap, (process.frozen_until_s, next(self.numbers), handle))
                return
        self.steps += 1
        second = int(self.now_s)
        self._window = (second, self._window[1] + 1 if self._window[0] == second else 0)
        if self._window[1] > MOST_STEPS_A_SECOND:
            raise Stuck(f"{MOST_STEPS_A_SECOND} wake-ups in one second; just now {handle!r}")
        self.now_s += 2e-5 * self.chance.random()
        try:
            handle.run()
        except Exception as exc:  # noqa: BLE001 - as asyncio does
            self.trouble.append(f"a callback raised {exc!r}")

    def spawn(self, coro: Coroutine[Any, Any, Any], process: Process | None) -> SimTask:
        """Start work of a process; None: of the world, which nobody kills."""
        context = contextvars.Context()
        context.run(PROCESS.set, process)
        return self.create_task(coro, context=context)

    def kill(self, process: Process) -> None:
        """SIGKILL: none of its tasks does another step, and nothing of them is finalised."""
        process.dead = True
        self._grave.append(
            [task for task in asyncio.all_tasks(self) if isinstance(task, SimTask) and task.process is process]
        )
