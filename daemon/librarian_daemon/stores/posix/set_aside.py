"""Sets an instance aside, and gives it its name back: renames inside the store, never overwriting."""

from __future__ import annotations

import os

from librarian_daemon.fs.beneath import fsync_beneath, make_directories, move, split
from librarian_daemon.stores.posix.landing_check import exists
from librarian_daemon.stores.posix.layout import OURS, Root
from librarian_protocol.digests import Digest
from librarian_protocol.errors import NameOccupied, SourceMissing
from librarian_protocol.names import Name


def place(digest: Digest) -> bytes:
    """Path of the bytes of a set-aside file below the store."""
    return OURS + b"/conflict/" + digest.hex.encode()


def is_aside(root: Root, digest: Digest) -> bool:
    """Whether bytes are set aside under this digest."""
    with root.opened() as fd:
        return exists(fd, place(digest))


def set_aside(root: Root, name: Name, digest: Digest) -> None:
    """Take the name from the bytes. Idempotent: bytes that are already set aside stay.

    Raises:
        SourceMissing: the bytes are neither at the name nor set aside.
    """
    with root.opened() as fd:
        if exists(fd, place(digest)):
            return
        _rename(fd, os.fsencode(name), place(digest), name)


def bring_back(root: Root, name: Name, digest: Digest) -> None:
    """Give the bytes their name back. Idempotent.

    Raises:
        SourceMissing: they are not set aside, and nothing is at the name.
        NameOccupied: something else is at the name.
    """
    with root.opened() as fd:
        if not exists(fd, place(digest)):
            if exists(fd, os.fsencode(name)):
                return
            raise SourceMissing(f"the bytes of {name!a} stand neither aside nor at their name")
        if exists(fd, os.fsencode(name)):
            raise NameOccupied(f"something else stands at {name!a}")
        parent = split(os.fsencode(name))[0]
        if parent:
            make_directories(fd, parent, settle=root.modes.above)
        _rename(fd, place(digest), os.fsencode(name), name)


def _rename(fd: int, old: bytes, new: bytes, name: Name) -> None:
    try:
        move(fd, old, fd, new)
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise SourceMissing(f"nothing stands at {name!a}") from exc
    for path in (new, old):
        fsync_beneath(fd, split(path)[0])
