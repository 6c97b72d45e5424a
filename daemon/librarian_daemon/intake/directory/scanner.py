"""Walking a drop directory: what could be ingested, and how it looked.

Streams: one directory is open at a time. Nothing is opened but directories.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from enum import StrEnum

import msgspec

from librarian_daemon.intake.drop import OURS
from librarian_daemon.settings import IntakeSettings
from librarian_daemon.store.confined import open_beneath, opened, split, stat_beneath
from librarian_protocol import globs
from librarian_protocol.names import MAX_NAME_BYTES

#: Device and inode, size, newest change: equal twice means that nothing happened between. Of a book: sums over it.
Fingerprint = tuple[int, int, int, int, int]


class Kind(StrEnum):
    """What a candidate is. An *odd* one can only be refused."""

    FILE = "file"
    BOOK = "book"
    ODD = "odd"


class Candidate(msgspec.Struct, frozen=True):
    """Something below the drop directory that is to be ingested, or refused."""

    rel: bytes
    kind: Kind
    size_bytes: int
    fingerprint: Fingerprint
    #: The last change of anything in it, nanoseconds since 1970.
    newest_ns: int


#: Called with each directory before it is read: its descriptor and its path.
EachDirectory = Callable[[int, bytes], None]


class Scanner:
    """What the settings of one drop directory say about what stands in it."""

    def __init__(self, settings: IntakeSettings) -> None:
        self._books = settings.unit == "book"
        self._depth = settings.depth
        self._marker = os.fsencode(settings.marker) if settings.complete == "marker" else b""
        self._ignore = settings.ignore

    def ignored(self, name: bytes) -> bool:
        """Whether something of this name is not looked at."""
        text = os.fsdecode(name)
        return any(globs.matches(glob, text) for glob in self._ignore)

    def candidate_of(self, rel: bytes) -> bytes | None:
        """The candidate that a path belongs to: itself, or the book it is in. None: nothing that we look at."""
        parts = rel.split(b"/")
        if parts[0] in OURS:
            return None
        if self._books:
            parts = parts[: self._depth]
        if any(self.ignored(part) for part in parts):
            return None
        return b"/".join(parts)

    def is_above_books(self, rel: bytes) -> bool:
        """Whether a directory there is descended into for candidates."""
        return not self._books or (rel.count(b"/") + 1 if rel else 0) < self._depth

    def walk(
        self,
        base: int,
        start: bytes = b"",
        *,
        each_directory: EachDirectory | None = None,
        unreadable: Callable[[bytes], None] | None = None,
        all_names: bool = False,
    ) -> Iterator[Candidate]:
        """Candidates below ``start`` below the descriptor ``base``, in no order. What vanishes is left out.

        ``unreadable`` is told of each directory below ``start`` that cannot be read. ``all_names`` takes ignored
        names too: for what was claimed already.

        Raises:
            OSError: the directory ``start`` cannot be read for another reason than that it is gone.
        """
        pending = [start]
        while pending:
            path = pending.pop()
            try:
                yield from self._directory(base, path, pending, each_directory, all_names)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError:
                if path == start:
                    raise
                if unreadable is not None:  # it hides no other
                    unreadable(path)

    def _directory(
        self,
        base: int,
        path: bytes,
        pending: list[bytes],
        each_directory: EachDirectory | None,
        all_names: bool,
    ) -> Iterator[Candidate]:
        prefix = path + b"/" if path else b""
        with opened(base, path) as fd:
            if each_directory is not None:
                each_directory(fd, path)
            with os.scandir(fd) as entries:
                for entry in entries:
                    name = os.fsencode(entry.name)
                    if not all_names and ((not path and name in OURS) or self.ignored(name)):
                        continue
                    rel = prefix + name
                    descend = entry.is_dir(follow_symlinks=False) and self.is_above_books(rel)
                    if descend and len(rel) <= MAX_NAME_BYTES:
                        pending.append(rel)
                        continue
                    try:
                        found = self.look(base, rel)
                    except (FileNotFoundError, NotADirectoryError):
                        continue
                    if found is None:
                        continue
                    if found.kind is Kind.BOOK and self._marker and each_directory is not None:
                        with opened(base, rel) as book:
                            each_directory(book, rel)
                    yield found

    def look(self, base: int, rel: bytes) -> Candidate | None:
        """How one candidate looks now; None: a directory that holds candidates, not one itself.

        Raises:
            OSError: it is gone, or cannot be looked at.
        """
        state = stat_beneath(base, rel)
        newest_ns = max(state.st_mtime_ns, state.st_ctime_ns)
        fingerprint = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
        if stat.S_ISDIR(state.st_mode):
            if self.is_above_books(rel):
                if len(rel) <= MAX_NAME_BYTES:
                    return None
                return Candidate(rel, Kind.ODD, 0, fingerprint, newest_ns)
            with opened(base, rel) as book:
                fingerprint, newest_ns = book_fingerprint(book)
            return Candidate(rel, Kind.BOOK, fingerprint[2], fingerprint, newest_ns)
        kind = Kind.FILE if stat.S_ISREG(state.st_mode) and not self._books else Kind.ODD
        return Candidate(rel, kind, state.st_size, fingerprint, newest_ns)

    def has_marker(self, base: int, rel: bytes) -> bool:
        """Whether the book is marked complete."""
        try:
            return stat.S_ISREG(stat_beneath(base, rel + b"/" + self._marker).st_mode)
        except OSError:
            return False


def book_fingerprint(book: int) -> tuple[Fingerprint, int]:
    """Sums over everything in a book, cheap and equal as long as nothing happens; and its newest change.

    Raises:
        OSError: it cannot be read, or changes at this moment.
    """
    state = os.fstat(book)
    newest_ns = max(state.st_mtime_ns, state.st_ctime_ns)
    inode, count, size_bytes, sum_ns = state.st_ino, 1, 0, newest_ns
    pending = [b""]
    while pending:
        path = pending.pop()
        prefix = path + b"/" if path else b""
        fd = open_beneath(book, path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    state = entry.stat(follow_symlinks=False)
                    changed_ns = max(state.st_mtime_ns, state.st_ctime_ns)
                    newest_ns = max(newest_ns, changed_ns)
                    sum_ns += changed_ns
                    inode ^= state.st_ino
                    count += 1
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(prefix + os.fsencode(entry.name))
                    else:
                        size_bytes += state.st_size
        finally:
            os.close(fd)
    return (inode, count, size_bytes, sum_ns, newest_ns), newest_ns


def parent_of(rel: bytes) -> bytes:
    """The directory that a candidate stands in."""
    return split(rel)[0]
