"""Lists of the attributes of books' members, on disk: in staging, or in their place in the store.

A list matters less than the bytes: a list that is missing, damaged or does not fit is ignored.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from librarian_adapters.beneath import READ_FILE, open_beneath
from librarian_daemon.fs.book_tree import read_manifest
from librarian_daemon.fs.hashing import CHUNK_BYTES, hash_fd
from librarian_daemon.ports.store import Landing
from librarian_daemon.stores.posix.landing_check import landing_manifest
from librarian_daemon.stores.posix.layout import STAGING, list_path
from librarian_protocol.attributes import OfMember, max_bytes, read
from librarian_protocol.digests import Digest
from librarian_protocol.errors import ManifestInvalid
from librarian_protocol.manifest import MemberFile


def of_file(landing: Landing) -> OfMember:
    """The attributes that a single file gets."""
    return OfMember(landing.attributes.mtime_ns, landing.attributes.executable)


def of_members(fd: int) -> Iterator[OfMember]:
    """The content of the list open at ``fd``, from its beginning.

    Raises:
        ManifestInvalid: it is no list.
        OSError: it cannot be read.
    """
    os.lseek(fd, 0, os.SEEK_SET)
    return read(iter(lambda: os.read(fd, CHUNK_BYTES), b""))


class Fitting(NamedTuple):
    """A list that fits its manifest: its descriptor, and the attributes of each member, in order."""

    fd: int
    members: Iterator[tuple[bytes, OfMember]]


@contextmanager
def fitting(root: int, landing: Landing) -> Generator[Fitting | str]:
    """The list of attributes for a landing book's members; or why there is none ("": nobody announced one).

    Raises:
        ManifestInvalid: the book's manifest is not the one of its digest.
        OSError: something cannot be read.
    """
    if landing.attributes.list is None:
        yield ""
        return
    fd = _opened(root, landing, landing.attributes.list)
    if fd is None:
        yield "it did not come"
        return
    try:
        with landing_manifest(root, landing) as manifest:
            files = sum(1 for _ in _paths(manifest, landing.digest))
            why = _why_unfit(fd, landing.attributes.list, files)
            yield why or Fitting(fd, zip(_paths(manifest, landing.digest), of_members(fd), strict=True))
    finally:
        os.close(fd)


def _paths(manifest: int, digest: Digest) -> Iterator[bytes]:
    return (os.fsencode(member.path) for member in read_manifest(manifest, digest) if isinstance(member, MemberFile))


def _opened(root: int, landing: Landing, digest: Digest) -> int | None:
    """Open the staged list of attributes, or the one in its place; None if there is neither."""
    staged = [STAGING + b"/" + os.fsencode(landing.list_rel)] if landing.list_rel else []
    for path in [*staged, list_path(digest)]:
        with suppress(FileNotFoundError):
            return open_beneath(root, path, READ_FILE)
    return None


def _why_unfit(fd: int, digest: Digest, files: int) -> str:
    """Why it is not the list of a book with this number of files; "" if it is. Raises OSError."""
    size_bytes = os.fstat(fd).st_size
    if size_bytes > max_bytes(files):
        return f"it has {size_bytes} bytes, too many for {files} members"
    found = hash_fd(fd)[1]
    if found != digest:
        return f"it is {found}, not {digest}"
    try:
        lines = sum(1 for _ in of_members(fd))
    except ManifestInvalid as exc:
        return exc.message
    return "" if lines == files else f"it lists {lines} members, the book has {files}"
