"""The contents of a drop directory for an administrator: list them, retry them, move them elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from librarian_daemon.fs.threads import Threads
from librarian_daemon.intake.directory import rejected
from librarian_daemon.intake.directory.drop import Drop
from librarian_daemon.intake.directory.ignore_report import Ignored, IgnoreReport
from librarian_daemon.intake.directory.rejected import Outcome, Refused

T = TypeVar("T")
#: Number of entries in one page.
_PORTION = 200


class DropContents:
    """The contents of one drop directory. Each method raises StoreError if the directory fails."""

    def __init__(self, drop: Drop, ignored: IgnoreReport, threads: Threads, changed: Callable[[], None]) -> None:
        """``changed`` is called when a refused entry has been moved."""
        self._drop = drop
        self._ignored = ignored
        self._threads = threads
        self._changed = changed
        self.path = drop.path

    async def refused(self) -> AsyncIterator[Sequence[Refused]]:
        """The entries of ``.rejected``, oldest first, in pages."""
        found = rejected.refused(self._drop)
        while portion := await self._threads.run(_some, found):
            yield portion

    async def ignored(self) -> AsyncIterator[Sequence[Ignored]]:
        """The ignored entries, in pages."""
        found = self._ignored.listed()
        while portion := await self._threads.run(_some, found):
            yield portion

    async def move_out(self, found: Sequence[Refused], to: str) -> list[Outcome]:
        """Move refused entries to a directory, under their own relative paths; "" is where they were dropped."""
        target = Drop(to) if to else self._drop

        def move() -> list[Outcome]:
            return [rejected.move_out(self._drop, refused, target) for refused in found]

        try:
            return await self._threads.run(move)
        finally:
            self._changed()


def _some(found: Iterator[T]) -> list[T]:
    return list(islice(found, _PORTION))
