"""Descriptors of directories that are kept while a batch is worked on: each is opened once, not once a file."""

from __future__ import annotations

import os
import resource
from typing import Self

from librarian_adapters.beneath import DIRECTORY, open_beneath
from librarian_daemon.fs.beneath import directory, rename_noreplace, split

#: Directories that only the daemon changes: a batch has hardly more of them.
OURS = 64
#: Directories that others may rename at any moment: the descriptor is kept only from one file to the next in it.
OTHERS = 1


def at_once(most: int) -> int:
    """Descriptors that one piece of work may hold: a sixteenth of what the process may, at least 1, at most ``most``.

    With ``ulimit -n 64`` several pieces of work go on at once, and the bus, the catalog and connections need theirs.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if soft == resource.RLIM_INFINITY else max(1, min(most, soft // 16))


class Kept:
    """Directories below one descriptor, by path; each was opened through no symbolic link (I9).

    A directory that is renamed meanwhile is still the one that was opened. Not for several threads at once.
    """

    def __init__(self, base: int, most: int = OURS) -> None:
        """``base`` stays open as long as this is used. :func:`at_once` says how many directories are open at a time."""
        self.base = base
        self._most = at_once(most)
        self._fds: dict[bytes, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._fds:
            self._close_one()

    def __contains__(self, path: bytes) -> bool:
        """Whether the directory is open."""
        return path in self._fds

    def at(self, path: bytes) -> int:
        """The descriptor of the directory ``path``; ``b""`` is the base. Good until the next call.

        Raises:
            OSError: it cannot be opened.
        """
        fd = self._fds.get(path)
        if fd is not None:
            return fd
        while len(self._fds) >= self._most:
            self._close_one()
        fd = self._fds[path] = open_beneath(self.base, path, DIRECTORY)
        return fd

    def _close_one(self) -> None:
        """Close the one that was opened first: batches are in the order of a walk."""
        os.close(self._fds.pop(next(iter(self._fds))))


def move(source: Kept, old: bytes, target: Kept, new: bytes) -> None:
    """As :func:`librarian_daemon.fs.beneath.move`; the two may not be the same."""
    old_parent, old_name = split(old)
    new_parent, new_name = split(new)
    rename_noreplace(source.at(old_parent), old_name, target.at(new_parent), new_name)


class KeptRoots:
    """:class:`Kept` below several configured directories, by their paths."""

    def __init__(self) -> None:
        self._roots: dict[str, tuple[int, Kept]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._roots:
            base, kept = self._roots.popitem()[1]
            with kept:
                os.close(base)

    def below(self, root: str) -> Kept:
        """The directories below ``root``.

        Raises:
            OSError: it cannot be opened.
        """
        if root not in self._roots:
            with directory(root) as fd:
                base = os.dup(fd)
            self._roots[root] = (base, Kept(base))
        return self._roots[root][1]
