"""Blocking calls in threads that are never left behind.

A cancelled ``asyncio.to_thread`` returns at once while its thread goes on, perhaps writing to a descriptor that was
closed and given to another file meanwhile. Here the cancellation waits for the thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec, TypeVar

from librarian_adapters.tasks import ended

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``function`` in a thread. It must be short: a cancellation is passed on only when it has ended."""
    return await outcome(asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs)))


async def outcome(running: asyncio.Future[T], stop: Callable[[], None] | None = None) -> T:
    """What a thread's work comes to. A cancellation calls ``stop``, and is passed on when the work has ended."""
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        if stop is not None:
            stop()
        with suppress(asyncio.CancelledError):
            await ended(running)
        raise
