"""An open file in staging: hashes what it is given, and writes it past the page cache where it can.

A copy through the page cache costs more than all else that is done with a large file here, and pushes out of memory
what others read. So whole pages of a buffer that begins at a page go to the disk as they are (``O_DIRECT``). The rest
is written as usual, and so is everything on a filesystem that does not take this.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
from collections.abc import Callable

import msgspec
from blake3 import blake3

from librarian_adapters.contract import Buffer
from librarian_daemon.fs import sparse
from librarian_daemon.fs.os_errors import naming
from librarian_daemon.fs.threads import Threads
from librarian_protocol.digests import Digest
from librarian_protocol.errors import StoreFault

#: Smaller writes are collected by the page cache.
DIRECT_FROM_BYTES = 256 << 10


class Written(msgspec.Struct, frozen=True):
    """A file that one sink wrote from its first byte to its last."""

    size_bytes: int
    #: Of the bytes that the sink was given.
    digest: Digest
    #: What stood in the inode when it was closed.
    stamp: tuple[int, ...]


def stamp_of(fd: int) -> tuple[int, ...]:
    """Differs when another file stands there, or somebody wrote to it since. Raises OSError."""
    return stamp_from(os.fstat(fd))


def stamp_from(state: os.stat_result) -> tuple[int, ...]:
    """As :func:`stamp_of`, of what was read."""
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


class FileSink:
    """Made by :meth:`librarian_daemon.stores.posix.staging.FileStaging.create`."""

    def __init__(self, fd: int, offset: int, root: str, threads: Threads, closed: Callable[[Written], None]) -> None:
        """``closed`` is called when all of the file was written by this sink, and it is closed."""
        self._fd: int | None = fd
        self._root = root
        self._threads = threads
        self._closed = closed
        self.offset = offset
        #: None where the digest of what stands there is not that of what was written.
        self._hasher: blake3 | None = None if offset else blake3()
        self._given_bytes = 0
        self._may_be_direct = True

    async def write(self, data: Buffer) -> None:
        """Append; returns when the kernel has the bytes.

        Raises:
            StoreFull, NoInodes, StoreFault: what the filesystem answered, or the sink is closed.
        """
        await self._threads.run(self._write, data)

    def _write(self, data: Buffer) -> None:
        if self._fd is None:
            raise StoreFault("the sink is closed already")
        view = memoryview(data).cast("B")
        hasher, self._hasher = self._hasher, None
        with naming("writing to staging", self._root):
            sparse.write(self._fd, view[self._write_direct(self._fd, view) :])
        if hasher is not None:
            hasher.update(view)
        # Only what was written is counted: after an error nobody knows what stands there.
        self._hasher, self._given_bytes = hasher, self._given_bytes + len(view)

    def _write_direct(self, fd: int, view: memoryview) -> int:
        """Write whole pages past the page cache. Returns how many bytes: 0 where that cannot be."""
        whole = len(view) - len(view) % mmap.PAGESIZE
        if not self._may_be_direct or whole < DIRECT_FROM_BYTES or not _begins_at_page(view):
            return 0
        begin = os.lseek(fd, 0, os.SEEK_CUR)
        if begin % mmap.PAGESIZE:
            return 0
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        try:
            fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_DIRECT)
            try:
                sparse.write(fd, view[:whole])
            finally:
                fcntl.fcntl(fd, fcntl.F_SETFL, flags)
        except OSError as exc:
            if exc.errno != errno.EINVAL:
                raise
            self._may_be_direct = False
        return os.lseek(fd, 0, os.SEEK_CUR) - begin

    def fileno(self) -> int | None:
        """The descriptor, positioned at the end. Who takes it may write past this sink."""
        self._hasher = None
        return self._fd

    async def close(self) -> None:
        """Idempotent.

        Raises:
            StoreFault: the filesystem kept an error until now.
        """
        fd, self._fd = self._fd, None
        if fd is None:
            return
        with naming("closing a staged file", self._root):
            try:
                sparse.finish(fd)
                stamp = stamp_of(fd)
                size_bytes = os.lseek(fd, 0, os.SEEK_CUR)
            finally:
                os.close(fd)
        if self._hasher is not None and size_bytes == self._given_bytes:
            self._closed(Written(size_bytes, Digest(f"blake3:{self._hasher.hexdigest()}"), stamp))


def _begins_at_page(view: memoryview) -> bool:
    """Whether the memory begins at a page. What cannot be written to tells no address."""
    return not view.readonly and ctypes.addressof(ctypes.c_char.from_buffer(view)) % mmap.PAGESIZE == 0
