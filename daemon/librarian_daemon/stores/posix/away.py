"""Moves withdrawn or bad bytes away from their name and keeps them. Renames inside the store, never overwriting."""

from __future__ import annotations

import errno
import os
import stat
from itertools import count

from librarian_adapters.beneath import READ_FILE
from librarian_daemon.fs import book_tree
from librarian_daemon.fs.beneath import exchange, fsync_beneath, make_directories, move, opened, split, stat_beneath
from librarian_daemon.stores.posix.landing_check import exists
from librarian_daemon.stores.posix.layout import BAD, WITHDRAWN, Root, manifest_path
from librarian_daemon.stores.posix.staging import remove
from librarian_protocol.digests import Digest
from librarian_protocol.names import Name

__all__ = ["BAD", "WITHDRAWN", "drop_bad", "exchange_bad", "free_place", "keep_bad", "move_away", "set_bad_aside"]

#: The filesystem does not exchange.
_CANNOT = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


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


def exchange_bad(base: int, rel: bytes, root: int, name: bytes, digest: Digest) -> None:
    """Good bytes at ``rel`` take the name from bad ones, in one step where the filesystem has it; these are kept.

    A crash leaves the good bytes at the name, or at ``rel``, or at both nothing else than before: recovery finishes it.

    Raises:
        OSError: the filesystem does not do it.
    """
    try:
        exchange(base, rel, root, name)
    except OSError as exc:
        if exc.errno not in _CANNOT:
            raise
        set_bad_aside(root, name, digest)
        move(base, rel, root, name)
        return
    fsync_beneath(root, split(name)[0])
    fsync_beneath(base, split(rel)[0])
    keep_bad(base, rel, root, digest)


def keep_bad(base: int, rel: bytes, root: int, digest: Digest) -> bytes:
    """Bad bytes at ``rel`` leave it for ``.librarian/bad``, durably. Returns their new place.

    Raises:
        OSError: the filesystem does not do it.
    """
    place = free_place(root, BAD, digest)
    make_directories(root, BAD, 0o700)
    move(base, rel, root, place)
    fsync_beneath(root, BAD)
    fsync_beneath(base, split(rel)[0])
    return place


def drop_bad(root: Root, digest: Digest) -> bool:
    """Remove the bad bytes that were kept under a digest. Idempotent. Returns whether none are left.

    A book in which something stands that is no member of it is left alone: nobody else has that.

    Raises:
        OSError: the filesystem does not do it.
    """
    hex_ = digest.hex.encode()
    left = False
    with root.opened() as fd:
        if not exists(fd, BAD):
            return True
        with opened(fd, BAD) as bad, os.scandir(bad) as entries:
            mine = [name for entry in entries if (name := os.fsencode(entry.name)).partition(b".")[0] == hex_]
        for name in mine:
            path = BAD + b"/" + name
            if _has_more(fd, path, digest):
                left = True
            else:
                remove(fd, path)
        fsync_beneath(fd, BAD)
    return not left


def _has_more(fd: int, path: bytes, digest: Digest) -> bool:
    """Whether something stands in a book that its manifest does not list."""
    if not stat.S_ISDIR(stat_beneath(fd, path).st_mode):
        return False
    extra = book_tree.Extra()
    with opened(fd, path) as book, opened(fd, manifest_path(digest), READ_FILE) as manifest:
        book_tree.compare(book, manifest, digest, read_bytes=False, extra=extra, bad=book_tree.BadMembers())
    return bool(extra.count)


def _rename(fd: int, old: bytes, new: bytes) -> None:
    make_directories(fd, split(new)[0], 0o700)
    move(fd, old, fd, new)
    for path in (new, old):
        fsync_beneath(fd, split(path)[0])
