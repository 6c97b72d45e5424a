"""The end of work that goes on beside its caller."""

from __future__ import annotations

import asyncio
from typing import Any


async def ended(work: asyncio.Future[Any]) -> None:
    """Wait for the end of the work, however often the caller is cancelled meanwhile: work goes on all the same.

    An error of the work is taken: asyncio does not report it as never retrieved.

    Raises:
        CancelledError: the caller was cancelled; the work has ended.
    """
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as exc:
            cancelled = exc
    if not work.cancelled():
        work.exception()
    if cancelled is not None:
        raise cancelled


async def stop(work: asyncio.Future[Any]) -> None:
    """Cancel the work, and wait for its end as :func:`ended`."""
    work.cancel()
    await ended(work)
