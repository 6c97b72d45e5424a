"""What ``ignore`` excludes in a drop directory: counted by each walk, and listed on request."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import msgspec

from librarian_daemon.fs.beneath import stat_beneath
from librarian_daemon.intake.directory.drop import Drop
from librarian_daemon.intake.directory.scanner import Scanner


class Ignored(msgspec.Struct, frozen=True):
    """An entry of the drop directory that is ignored."""

    rel: bytes
    glob: str
    size_bytes: int
    mtime_ns: int


class IgnoreReport:
    """The ignored entries of one drop directory."""

    def __init__(self, drop: Drop, scanner: Scanner) -> None:
        self._drop = drop
        self._scanner = scanner
        #: Number for each glob, as the last complete walk found.
        self.counts: Counter[str] = Counter()
        self._counting: Counter[str] = Counter()

    def begin(self) -> None:
        """Note that a walk begins."""
        self._counting = Counter()

    def note(self, _rel: bytes, glob: str) -> None:
        """Count an ignored entry."""
        self._counting[glob] += 1

    def end(self) -> None:
        """Note that the walk is complete."""
        self.counts = self._counting

    def listed(self) -> Iterator[Ignored]:
        """The ignored entries, in no order. Blocking code.

        Raises:
            StoreError: the drop directory cannot be read.
        """
        met: list[tuple[bytes, str]] = []
        with self._drop.opened("listing what is ignored") as fd:
            for _ in self._scanner.walk(fd, ignored=lambda rel, glob: met.append((rel, glob))):
                yield from self._looked_at(fd, met)
            yield from self._looked_at(fd, met)

    def _looked_at(self, drop: int, met: list[tuple[bytes, str]]) -> Iterator[Ignored]:
        while met:
            rel, glob = met.pop()
            try:
                state: os.stat_result = stat_beneath(drop, rel)
            except OSError:
                continue  # gone
            yield Ignored(rel, glob, state.st_size, state.st_mtime_ns)
