"""Surveys a drop directory: all of it, or single paths. Blocking code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from librarian_daemon.fs.beneath import opened
from librarian_daemon.fs.kept import OTHERS, Kept
from librarian_daemon.intake.directory.drop import VANISHED, Drop
from librarian_daemon.intake.directory.file_times import has_set_time
from librarian_daemon.intake.directory.ignore_report import IgnoreReport
from librarian_daemon.intake.directory.scanner import Candidate, Kind, Scanner, Unreadable, parent_of
from librarian_daemon.intake.directory.watcher import Arrival, Watcher

#: What is at a path: a path if it is a directory above candidates, b"" if nothing is there.
Look = Candidate | Unreadable | bytes


class Survey:
    """Each method raises StoreError if the drop directory itself cannot be read."""

    def __init__(
        self, drop: Drop, scanner: Scanner, watcher: Watcher, ignored: IgnoreReport, *, for_markers: bool
    ) -> None:
        """``for_markers``: books are watched, because a marker may appear in a book."""
        self._drop = drop
        self._scanner = scanner
        self._watcher = watcher
        self._ignored = ignored
        self._for_markers = for_markers

    def walk(self, start: bytes) -> Iterator[Candidate | Unreadable]:
        """All below a directory of the drop directory, or below itself; each directory is watched from then on."""
        with self._drop.opened("walking the drop directory") as fd:
            yield from self._scanner.walk(
                fd, start, each_directory=self._watcher.add, ignored=None if start else self._ignored.note
            )

    def look_at(self, rels: Sequence[tuple[bytes, Arrival]]) -> list[tuple[Look, Arrival]]:
        """What is at each path now, and how it arrived."""
        with self._drop.opened("looking at the drop directory") as fd, Kept(fd, OTHERS) as directories:
            return [self._look(fd, directories, rel, arrival) for rel, arrival in rels]

    def _look(self, drop: int, directories: Kept, rel: bytes, arrival: Arrival) -> tuple[Look, Arrival]:
        try:
            found = self._scanner.look(directories.at(parent_of(rel)), rel)
            if found is not None and found.kind is Kind.BOOK and self._for_markers:
                with opened(drop, rel) as book:
                    self._watcher.add(book, rel)
            if arrival is Arrival.BY_RSYNC and has_set_time(drop, rel):
                arrival = Arrival.MOVED  # rsync had finished
        except OSError as exc:
            return (b"" if exc.errno in VANISHED else Unreadable(rel, exc.strerror or str(exc))), arrival
        return (rel if found is None else found), arrival

    def is_marked(self, rel: bytes) -> bool:
        """Whether the book is marked complete."""
        with self._drop.opened("looking for a marker") as fd:
            return self._scanner.has_marker(fd, rel)
