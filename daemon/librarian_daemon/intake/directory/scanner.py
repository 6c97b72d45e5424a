"""Walks a drop directory and yields candidates with their fingerprints. One directory is open at a time.

Only directories are opened.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from enum import StrEnum

import msgspec

from librarian_adapters.beneath import open_beneath
from librarian_daemon.config.settings import IntakeSettings
from librarian_daemon.fs.beneath import opened, split, stat_beneath
from librarian_daemon.intake.directory.drop import OURS, VANISHED, shown
from librarian_daemon.intake.directory.file_times import is_stopped
from librarian_protocol import globs
from librarian_protocol.names import MAX_NAME_BYTES
from librarian_protocol.unfinished import unfinished

#: Device and inode, size, newest change: two equal fingerprints mean that nothing changed between. For a book: sums.
Fingerprint = tuple[int, int, int, int, int]


class Kind(StrEnum):
    """Kind of a candidate. An *odd* one can only be refused."""

    FILE = "file"
    BOOK = "book"
    ODD = "odd"


class Candidate(msgspec.Struct, frozen=True):
    """An entry of the drop directory to ingest or to refuse."""

    rel: bytes
    kind: Kind
    size_bytes: int
    fingerprint: Fingerprint
    #: The last change of anything in it, nanoseconds since 1970.
    newest_ns: int
    #: For a book: the member that changed last, and an unfinished member; b"" if there is none.
    newest: bytes = b""
    holds: bytes = b""
    #: For a file: it has the time that an interrupted rsync leaves.
    stopped: bool = False


class Unreadable(msgspec.Struct, frozen=True):
    """An entry of the drop directory that cannot be read; only this entry waits."""

    rel: bytes
    why: str


#: Called with each directory before it is read: its descriptor and its path.
EachDirectory = Callable[[int, bytes], None]


class Scanner:
    """Applies the settings of one drop directory to its entries."""

    def __init__(self, settings: IntakeSettings) -> None:
        self._books = settings.unit == "book"
        self._depth = settings.depth
        self._marker = os.fsencode(settings.marker) if settings.complete == "marker" else b""
        self._ignore = settings.ignore
        literals = [_literal(glob) for glob in settings.ignore]
        self._ignored_begin = tuple(begin for begin, end in literals if begin or not end)
        self._ignored_end = tuple(end for begin, end in literals if end and not begin)

    def ignored(self, name: bytes) -> str:
        """The glob that ignores this name; "" if none does."""
        text = os.fsdecode(name)
        if text.isascii() and not text.startswith(self._ignored_begin) and not text.endswith(self._ignored_end):
            return ""  # without a look at each glob
        return next((glob for glob in self._ignore if globs.matches(glob, text)), "")

    def candidate_of(self, rel: bytes) -> bytes | None:
        """The candidate of a path: the path itself, or its book. None: it is ignored."""
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
        ignored: Callable[[bytes, str], None] | None = None,
        all_names: bool = False,
    ) -> Iterator[Candidate | Unreadable]:
        """Candidates below ``start`` below the descriptor ``base``, in no order.

        Entries that vanish are left out. An unreadable entry hides no others. ``ignored`` is called with each ignored
        entry and its glob. ``all_names`` takes ignored names too: for what was claimed already.

        Raises:
            OSError: the directory ``base`` itself cannot be read.
        """
        pending = [start]
        while pending:
            path = pending.pop()
            try:
                yield from self._directory(base, path, pending, each_directory, ignored, all_names)
            except OSError as exc:
                if exc.errno in VANISHED:
                    continue
                if not path:
                    raise
                yield Unreadable(path, exc.strerror or str(exc))

    def _directory(
        self,
        base: int,
        path: bytes,
        pending: list[bytes],
        each_directory: EachDirectory | None,
        ignored: Callable[[bytes, str], None] | None,
        all_names: bool,
    ) -> Iterator[Candidate | Unreadable]:
        prefix = path + b"/" if path else b""
        with opened(base, path) as fd:
            if each_directory is not None:
                each_directory(fd, path)
            with os.scandir(fd) as entries:
                for entry in entries:
                    name = os.fsencode(entry.name)
                    rel = prefix + name
                    if not all_names:
                        if not path and name in OURS:
                            continue
                        if glob := self.ignored(name):
                            if ignored is not None:
                                ignored(rel, glob)
                            continue
                    try:
                        if self._is_descended_into(entry, rel):
                            pending.append(rel)
                            continue
                        found = self.look(fd, rel)
                        if found is None:
                            continue
                        if found.kind is Kind.BOOK and self._marker and each_directory is not None:
                            with opened(base, rel) as book:
                                each_directory(book, rel)
                    except OSError as exc:
                        if exc.errno not in VANISHED:
                            yield Unreadable(rel, exc.strerror or str(exc))
                        continue
                    yield found

    def _is_descended_into(self, entry: os.DirEntry[str], rel: bytes) -> bool:
        return entry.is_dir(follow_symlinks=False) and self.is_above_books(rel) and len(rel) <= MAX_NAME_BYTES

    def look(self, parent: int, rel: bytes) -> Candidate | None:
        """The candidate as it is now; None for a directory that only contains candidates.

        ``parent`` is the descriptor of its directory.

        Raises:
            OSError: it is gone, or cannot be looked at.
        """
        name = split(rel)[1]
        state = os.stat(name, dir_fd=parent, follow_symlinks=False)
        newest_ns = max(state.st_mtime_ns, state.st_ctime_ns)
        fingerprint = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
        if stat.S_ISDIR(state.st_mode):
            if self.is_above_books(rel):
                if len(rel) <= MAX_NAME_BYTES:
                    return None
                return Candidate(rel, Kind.ODD, 0, fingerprint, newest_ns)
            with opened(parent, name) as book:
                return _book(rel, book)
        kind = Kind.FILE if stat.S_ISREG(state.st_mode) and not self._books else Kind.ODD
        stopped = kind is Kind.FILE and is_stopped(state.st_mtime_ns)
        return Candidate(rel, kind, state.st_size, fingerprint, newest_ns, stopped=stopped)

    def has_marker(self, base: int, rel: bytes) -> bool:
        """Whether the book is marked complete."""
        try:
            return stat.S_ISREG(stat_beneath(base, rel + b"/" + self._marker).st_mode)
        except OSError:
            return False


def _literal(glob: str) -> tuple[str, str]:
    """What every plain name begins with, and ends with, that the glob matches."""
    if "/" in glob or not glob.isascii():
        return "", ""
    return re.split(r"[*?\[{]", glob, maxsplit=1)[0], re.split(r"[*?\]}]", glob)[-1]


def _book(rel: bytes, book: int) -> Candidate:
    """Fingerprint of a book: sums over its content, cheap, and equal as long as nothing changes.

    Raises:
        OSError: it cannot be read, or changes at this moment; which member it was is in its text.
    """
    state = os.fstat(book)
    newest_ns, newest, holds = max(state.st_mtime_ns, state.st_ctime_ns), b"", b""
    inode, count, size_bytes, sum_ns = state.st_ino, 1, 0, newest_ns
    pending = [b""]
    while pending:
        path = pending.pop()
        prefix = path + b"/" if path else b""
        try:
            fd = open_beneath(book, path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as exc:
            raise OSError(exc.errno, f"{shown(path)}: {exc.strerror}" if path else exc.strerror) from exc
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    member = prefix + os.fsencode(entry.name)
                    state = entry.stat(follow_symlinks=False)
                    changed_ns = max(state.st_mtime_ns, state.st_ctime_ns)
                    if changed_ns >= newest_ns:
                        newest_ns, newest = changed_ns, member
                    if not holds and (unfinished(entry.name) is not None or is_stopped(state.st_mtime_ns)):
                        holds = member
                    sum_ns += changed_ns
                    inode ^= state.st_ino
                    count += 1
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(member)
                    else:
                        size_bytes += state.st_size
        finally:
            os.close(fd)
    return Candidate(
        rel, Kind.BOOK, size_bytes, (inode, count, size_bytes, sum_ns, newest_ns), newest_ns, newest=newest, holds=holds
    )


def parent_of(rel: bytes) -> bytes:
    """The directory of a candidate."""
    return split(rel)[0]
