"""Moves withdrawn or bad bytes away from their name and keeps them. Renames inside the store, never overwriting."""

from __future__ import annotations

import os
from itertools import count

from librarian_daemon.fs.beneath import fsync_beneath, make_directories, move, split
from librarian_daemon.stores.posix.landing_check import exists
from librarian_daemon.stores.posix.layout import BAD, WITHDRAWN, Root
from librarian_protocol.digests import Digest
from librarian_protocol.names import Name

__all__ = ["BAD", "WITHDRAWN", "free_place", "move_away", "set_bad_aside"]


def free_place(root_fd: int, kind: bytes, digest: Digest) -> bytes:
    """A free path for the bytes of a digest below the store: ``<hex>``, or ``<hex>.2`` if that is occupied."""
    first = kind + b"/" + digest.hex.encode()
    return next(place for n in count(1) if not exists(root_fd, place := first if n == 1 else b"%s.%d" % (first, n)))


def move_away(root: Root, name: Name, place: bytes, aside: bytes = b"") -> bool:
    """Move the bytes at the name (or ``aside``) to ``place``, durably. Idempotent. Returns whether anything is there.

    Raises:
        OSError: the filesystem does not do it.
    """
    old = aside or os.fsencode(name)
    with root.opened() as fd:
        if not exists(fd, place):
            if not exists(fd, old):
                return False
            _rename(fd, old, place)
        return True


def set_bad_aside(fd: int, path: bytes, digest: Digest) -> bytes:
    """Take a name from bad bytes. Returns their new place.

    Raises:
        OSError: the filesystem does not do it.
    """
    place = free_place(fd, BAD, digest)
    _rename(fd, path, place)
    return place


def _rename(fd: int, old: bytes, new: bytes) -> None:
    make_directories(fd, split(new)[0], 0o700)
    move(fd, old, fd, new)
    for path in (new, old):
        fsync_beneath(fd, split(path)[0])
