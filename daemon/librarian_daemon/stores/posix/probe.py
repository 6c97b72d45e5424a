"""Whether anything can be written to a store now, tested by writing a small file."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from librarian_daemon.fs.os_errors import naming, store_error
from librarian_daemon.ports.store import Space
from librarian_daemon.stores.posix.layout import Root

_PROBE = b"probe-space"
_BYTES = 4096
_WRITING = os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
#: Of the filesystem's flags: it is mounted read-only.
_READ_ONLY = os.ST_RDONLY


def space(root: int) -> Space:
    """How full the filesystem of an open root is, for a user without privileges."""
    state = os.fstatvfs(root)
    return Space(
        total_bytes=state.f_blocks * state.f_frsize,
        free_bytes=state.f_bavail * state.f_frsize,
        total_inodes=state.f_files,
        free_inodes=state.f_favail,
    )


def probe(root: Root) -> Space:
    """As :meth:`librarian_daemon.ports.store.Store.probe`.

    A file is written even if the kernel reports free space, since only this shows a quota, a reserve or a broken disk.
    It is not made durable: storing files tests that.
    """
    with root.staging() as staging, naming("looking at the store", root.path):
        found = space(staging)
        if os.fstatvfs(staging).f_flag & _READ_ONLY:
            raise store_error(OSError(errno.EROFS, os.strerror(errno.EROFS)), "writing", root.path)
        if found.free_bytes == 0:
            # Only root can use the rest.
            raise store_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "writing", root.path)
        try:
            fd = os.open(_PROBE, _WRITING, 0o600, dir_fd=staging)
            try:
                os.write(fd, bytes(_BYTES))
            finally:
                os.close(fd)
        finally:
            with suppress(OSError):
                os.unlink(_PROBE, dir_fd=staging)
    return found
