"""Moves bytes away from their name and keeps them: implements
:class:`librarian_daemon.ports.store_capabilities.Keeping`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import suppress

from librarian_adapters.beneath import READ_FILE
from librarian_daemon.fs.beneath import opened, split
from librarian_daemon.fs.hashing import Stopped, hash_fd
from librarian_daemon.fs.os_errors import naming
from librarian_daemon.fs.threads import Threads
from librarian_daemon.stores.posix import away, set_aside
from librarian_daemon.stores.posix.layout import STAGING, Root
from librarian_daemon.stores.posix.staging import make_staged_directories
from librarian_protocol.digests import Digest
from librarian_protocol.manifest import MemberFile
from librarian_protocol.names import Name


class PosixKeeping:
    """Renames inside one store, never overwriting."""

    def __init__(self, root: Root, threads: Threads) -> None:
        self._root = root
        self._threads = threads

    async def set_aside(self, name: Name, digest: Digest) -> None:
        """Take the name from bytes that were found to be these. Idempotent.

        Raises:
            SourceMissing: they are not there.
            StoreError: the filesystem does not do it.
        """
        with naming(f"setting {name!a} aside", self._root.path):
            await self._threads.run(set_aside.set_aside, self._root, name, digest)

    async def is_aside(self, digest: Digest) -> bool:
        """Whether bytes are set aside under this digest.

        Raises:
            StoreError: it cannot be looked at.
        """
        with naming("looking at what is set aside", self._root.path):
            return await self._threads.run(set_aside.is_aside, self._root, digest)

    async def bring_back(self, name: Name, digest: Digest) -> None:
        """Give set-aside bytes their name back. Idempotent.

        Raises:
            SourceMissing: they are not there.
            NameOccupied: something else is at the name.
            StoreError: the filesystem does not do it.
        """
        with naming(f"bringing {name!a} back", self._root.path):
            await self._threads.run(set_aside.bring_back, self._root, name, digest)

    async def free_place(self, digest: Digest, *, withdrawn: bool) -> str:
        """A free path below the store for bytes that leave their name for good.

        Raises:
            StoreError: it cannot be looked at.
        """
        kind = away.WITHDRAWN if withdrawn else away.BAD
        return await self._threads.run(self._free_place, kind, digest)

    def _free_place(self, kind: bytes, digest: Digest) -> str:
        with self._root.opened() as root, naming("looking at what is kept", self._root.path):
            return os.fsdecode(away.free_place(root, kind, digest))

    async def move_away(self, name: Name, digest: Digest, place: str, *, aside: bool) -> bool:
        """Move the bytes at the name, or set aside, to ``place``. Idempotent. Returns whether anything is there.

        Raises:
            StoreError: the filesystem does not do it.
        """
        old = set_aside.place(digest) if aside else b""
        with naming(f"moving {name!a} away", self._root.path):
            return await self._threads.run(away.move_away, self._root, name, os.fsencode(place), old)

    async def stage_good(self, name: Name, members: Sequence[MemberFile], key: str) -> Sequence[bool]:
        """Read members of the book at the name; those that are right get a second link below ``key`` in staging.

        Raises:
            StoreError: the filesystem does not answer.
        """
        stop = threading.Event()
        return await self._threads.run_stoppable(stop, _stage_good, self._root, name, members, key, stop)

    async def drop_bad(self, digest: Digest) -> bool:
        """Remove the bad bytes that were kept under a digest. Idempotent. Returns whether none are left.

        Raises:
            StoreError: the filesystem does not do it.
        """
        with naming("removing bad bytes", self._root.path):
            return await self._threads.run(away.drop_bad, self._root, digest)


def _stage_good(root: Root, name: Name, members: Sequence[MemberFile], key: str, stop: threading.Event) -> list[bool]:
    """As :meth:`PosixKeeping.stage_good`. Blocks."""
    with root.opened() as fd, naming("looking at the members of a book", root.path):
        try:
            with opened(fd, os.fsencode(name)) as book, opened(fd, STAGING) as staging:
                return [_link(book, staging, member, os.fsencode(key), stop) for member in members]
        except (FileNotFoundError, NotADirectoryError):
            return [False] * len(members)


def _link(book: int, staging: int, member: MemberFile, key: bytes, stop: threading.Event) -> bool:
    """Whether the member is right and stands in staging now. What cannot be read or linked is fetched."""
    path = os.fsencode(member.path)
    with suppress(OSError, Stopped):
        with opened(book, path, READ_FILE) as fd:
            if os.fstat(fd).st_size != member.size_bytes or hash_fd(fd, stop)[1] != member.digest:
                return False
            inode = os.fstat(fd).st_ino
        staged = key + b"/" + path
        parent, last = split(staged)
        make_staged_directories(staging, parent)
        with opened(book, split(path)[0]) as source, opened(staging, parent) as target:
            os.link(split(path)[1], last, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
            if os.stat(last, dir_fd=target, follow_symlinks=False).st_ino == inode:
                return True
            os.unlink(last, dir_fd=target)  # something else stands at the name by now
    return False
