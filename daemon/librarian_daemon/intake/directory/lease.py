"""Whether anybody is writing to a file.

Times and sizes do not show it: a second write through a mapping to a page that is already dirty changes neither. A read
lease shows it: the kernel refuses it while the file has a writer, and reports a new writer.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections.abc import Generator
from contextlib import contextmanager

#: Errors of a filesystem without leases, or of a file of another user.
_NO_LEASES = frozenset({errno.EACCES, errno.EINVAL, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM})

_TOLD_BY = int(signal.SIGURG)


class StillWritten(Exception):
    """Somebody writes to the file, or did so while it was read. ``str()`` says how we know."""


class NotReadable(StillWritten):
    """The file became unreadable between the check and the claim: its owner is still working on it."""


def _lease(fd: int) -> bool:
    """Take a read lease on a descriptor that was opened read-only; False if there are none.

    Raises:
        StillWritten: a writer has it open or mapped.
    """
    try:
        # The kernel reports a new writer by a signal. The default signal, SIGIO, would end the process. This signal is
        # ignored by default; we check the lease itself afterwards.
        fcntl.fcntl(fd, fcntl.F_SETSIG, _TOLD_BY)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as exc:
        if exc.errno == errno.EAGAIN:
            raise StillWritten("a writer has it open") from exc
        if exc.errno in _NO_LEASES:
            return False
        raise
    return True


class ReadLease:
    """A read lease on a descriptor that was opened read-only. It ends with the descriptor, or by :meth:`end`."""

    def __init__(self, fd: int) -> None:
        """Take it, where the filesystem has leases.

        Raises:
            StillWritten: a writer has the file open or mapped.
        """
        self._fd = fd
        self._held = _lease(fd)

    def check(self) -> None:
        """Raise StillWritten if a writer has opened the file since."""
        if self._held and fcntl.fcntl(self._fd, fcntl.F_GETLEASE) != fcntl.F_RDLCK:
            raise StillWritten("a writer opened it while it was read")

    def end(self) -> None:
        """Let writers in."""
        if self._held:
            fcntl.fcntl(self._fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def check_unwritten(fd: int) -> None:
    """Look once whether a writer has it open.

    Raises:
        StillWritten: one has.
    """
    ReadLease(fd).end()


def check_unchanged(fd: int, before: os.stat_result) -> None:
    """Raise StillWritten if size or times of the file are others than before."""
    after = os.fstat(fd)
    if (before.st_size, before.st_mtime_ns, before.st_ctime_ns) != (
        after.st_size,
        after.st_mtime_ns,
        after.st_ctime_ns,
    ):
        raise StillWritten("it changed while it was read")


@contextmanager
def unwritten(fd: int) -> Generator[os.stat_result]:
    """Read a file inside the block; nobody may write to it before the block's end.

    Raises:
        StillWritten: at either end of the block. Then the bytes that were read must be discarded.
    """
    before = os.fstat(fd)
    lease = ReadLease(fd)
    try:
        yield before
        lease.check()
    finally:
        lease.end()
    check_unchanged(fd, before)
