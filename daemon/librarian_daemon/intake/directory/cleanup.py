"""Removes emptied directories in a drop directory, after a delay, since somebody may be filling them."""

from __future__ import annotations

from collections.abc import Iterable

from librarian_daemon.fs.threads import Threads
from librarian_daemon.intake.directory.drop import Drop, parents, remove_empty
from librarian_daemon.intake.directory.scanner import parent_of

#: Number of emptied directories that are remembered.
_MOST = 10_000


class Cleanup:
    """The emptied directories of one drop directory."""

    def __init__(self, drop: Drop, threads: Threads, quiet_s: float) -> None:
        self._drop = drop
        self._threads = threads
        self._quiet_s = quiet_s
        #: And when each may be removed.
        self._due_s: dict[bytes, float] = {}

    def remember(self, taken: Iterable[bytes], now_s: float) -> None:
        """Note that these paths were taken."""
        for rel in taken:
            parent = parent_of(rel)
            if parent and (parent in self._due_s or len(self._due_s) < _MOST):
                self._due_s[parent] = now_s + self._quiet_s

    def next_due_s(self, now_s: float) -> float | None:
        """Seconds until one may be removed; None if there is none."""
        return max(min(self._due_s.values()) - now_s, 0.0) if self._due_s else None

    async def remove(self, now_s: float) -> None:
        """Remove the directories that are due and still empty, then their empty parents."""
        due = [path for path, due_s in self._due_s.items() if now_s >= due_s]
        for path in due:
            del self._due_s[path]
        if due:
            await self._threads.run(self._remove, due)

    def _remove(self, paths: list[bytes]) -> None:
        with self._drop.opened("removing emptied directories") as fd:
            for path in sorted(paths, key=len, reverse=True):
                for place in [path, *parents(path)]:
                    if not remove_empty(fd, place):
                        break
