"""Compares the bytes on disk with what a landing says."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator
from contextlib import contextmanager

from librarian_adapters.beneath import READ_FILE, open_beneath
from librarian_daemon.fs import book_tree
from librarian_daemon.fs.beneath import opened, split, stat_beneath
from librarian_daemon.fs.hashing import hash_fd
from librarian_daemon.ports.store import Landing
from librarian_daemon.ports.store_capabilities import Expected
from librarian_daemon.stores.posix.layout import STAGING, manifest_path
from librarian_protocol.entries import Unit
from librarian_protocol.errors import ChecksumMismatch, LibrarianError, SizeMismatch, SourceMissing


def missing(landing: Landing) -> LibrarianError:
    """The bytes are in none of the expected places."""
    return SourceMissing(
        f"the bytes of {landing.name!a} are neither at {landing.rel!a} in {landing.root} nor at their name"
    )


def exists(dirfd: int, path: bytes) -> bool:
    """Whether anything is there; a link counts as itself."""
    try:
        stat_beneath(dirfd, path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def listed(dirfd: int, path: bytes) -> bool:
    """Whether the directory lists exactly this name, letter case included."""
    parent, name = split(path)
    with opened(dirfd, parent) as fd, os.scandir(fd) as entries:
        return any(os.fsencode(entry.name) == name for entry in entries)


@contextmanager
def landing_manifest(root: int, landing: Landing | Expected) -> Generator[int]:
    """The manifest of a book: in its place, or, if the book is landing, in staging.

    Raises:
        FileNotFoundError: in neither.
    """
    if isinstance(landing, Landing) and landing.manifest_rel:
        try:
            fd = open_beneath(root, STAGING + b"/" + os.fsencode(landing.manifest_rel), READ_FILE)
        except FileNotFoundError:
            fd = open_beneath(root, manifest_path(landing.digest), READ_FILE)
    else:
        fd = open_beneath(root, manifest_path(landing.digest), READ_FILE)
    try:
        yield fd
    finally:
        os.close(fd)


def compare(
    root: int,
    base: int,
    path: bytes,
    landing: Landing | Expected,
    *,
    read_bytes: bool,
    extra: book_tree.Extra | None = None,
) -> LibrarianError | None:
    """What is wrong with the bytes at ``path`` below ``base``; None if they are the landing's, or expected, file.

    With ``read_bytes`` every byte is read and hashed; else only kinds, names and sizes are looked at.

    Raises:
        OSError: it cannot be looked at.
    """
    mode = stat_beneath(base, path).st_mode
    if landing.unit is Unit.BOOK:
        if not stat.S_ISDIR(mode):
            return ChecksumMismatch("it is not a directory, as a book is")
        with opened(base, path) as book, landing_manifest(root, landing) as manifest:
            return book_tree.compare(book, manifest, landing.digest, read_bytes=read_bytes, extra=extra)[1]
    if not stat.S_ISREG(mode):
        return ChecksumMismatch("it is not a regular file")
    with opened(base, path, READ_FILE) as fd:
        size_bytes = os.fstat(fd).st_size
        if size_bytes != landing.size_bytes:
            return SizeMismatch(f"it has {size_bytes} bytes, not {landing.size_bytes}")
        if read_bytes:
            found = hash_fd(fd)[1]
            if found != landing.digest:
                return ChecksumMismatch(f"its bytes are {found}, not {landing.digest}")
    return None
