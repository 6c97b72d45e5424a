"""Decides how many files at once become durable: by one ``syncfs``, or by an fsync for each. Blocking code.

One syncfs for a batch is several times quicker on a disk of one's own. It also waits for what everybody else has
written to that filesystem, so ``auto`` measures both, and looks before each use whether much is waiting to be written.

On some filesystems syncfs does nothing and says nothing: on FUSE it never reaches the server. So it is used only on
those of which it is known, and only by kernels that report by it what could not be written. It reports an error once,
perhaps to another batch: after it each file is asked for its own (:func:`wait_written`), and once it failed, files are
fsynced until the daemon is started again.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
from contextlib import ExitStack, suppress
from typing import Literal

import msgspec
import structlog

from librarian_daemon.fs.beneath import filesystem_type, opened, syncfs
from librarian_daemon.fs.kept import at_once
from librarian_daemon.fs.threads import Threads
from librarian_daemon.stores.posix.layout import Root
from librarian_protocol.api import DoctorCheck
from librarian_protocol.errors import StoreError

#: ``[[store]] sync``.
Sync = Literal["auto", "syncfs", "fsync"]
#: From this number of single files on, one syncfs is cheaper than an fsync for each.
SYNCFS_FROM = 64
#: Both are timed again after so long: the disk may have got other users.
TIMED_EVERY_S = 3600.0
#: Bytes that all of the machine has written and no disk has yet: an ordinary disk writes them in about a second.
MUCH_DIRTY_BYTES = 256 << 20
#: A syncfs that takes so many times as long as the fsyncs would is the last one until both are timed again.
_SLOWER = 2.0
#: ext2 to ext4, xfs, btrfs, f2fs: numbers of statfs(2).
_SYNCFS_WORKS = frozenset({0xEF53, 0x58465342, 0x9123683E, 0xF2F52010})
#: Earlier kernels do not report write-back errors by it.
_SYNCFS_REPORTS = (5, 8)
#: A batch of small files is less. The first syncfs after a tree was dropped writes the rest of the tree, too: whether
#: somebody goes on writing is shown by the next one.
_OWN_DIRTY_BYTES = 16 << 20
#: The directory in staging in which they are timed; a start removes what a crash left of it.
_PROBE = b"sync-probe"
_PROBE_BYTES = 4096
_MEMORY = "/proc/meminfo"
_log = structlog.get_logger("store")


class Timed(msgspec.Struct, frozen=True):
    """Seconds for :data:`SYNCFS_FROM` new small files."""

    fsync_s: float
    syncfs_s: float


class Durability:
    """How one store makes files durable."""

    def __init__(self, root: Root, threads: Threads, sync: Sync) -> None:
        """Nothing is timed before the first batch of :data:`SYNCFS_FROM` files."""
        self._root = root
        self._threads = threads
        self._sync = sync
        self._timed: Timed | None = None
        self._due_s = 0.0
        #: A syncfs took too long since both were timed.
        self._slow = False
        #: The last syncfs took too long, but had others' bytes to write.
        self._forgiven = False
        #: A syncfs reported an error: what it was about, nobody knows.
        self._failed = False

    def together(self, fd: int, files: int) -> bool:
        """Whether so many files are to be made durable by :meth:`syncfs`, on the filesystem of ``fd``.

        A lone file never is.
        """
        if self._sync == "fsync" or files < SYNCFS_FROM or self._failed or not syncfs_works(fd):
            return False
        return self._sync == "syncfs" or (self._is_quicker() and dirty_bytes() < MUCH_DIRTY_BYTES)

    def _is_quicker(self) -> bool:
        return self._timed is not None and not self._slow and self._timed.syncfs_s < self._timed.fsync_s

    def syncfs(self, fd: int, files: int) -> None:
        """Make everything on that filesystem durable, so many files of ours with it.

        Then each of them is still to be asked by :func:`wait_written`.

        Raises:
            OSError: it failed, and is used no more.
        """
        others = dirty_bytes() > _OWN_DIRTY_BYTES
        began_s = time.perf_counter()
        try:
            syncfs(fd)
        except OSError:
            self._failed = True
            raise
        took_s = time.perf_counter() - began_s
        if self._timed is None or self._slow:
            return
        by_fsync_s = self._timed.fsync_s * max(files, SYNCFS_FROM) / SYNCFS_FROM
        long = took_s > _SLOWER * by_fsync_s
        self._slow = long and (self._forgiven or not others)
        self._forgiven = long
        if self._slow:
            _log.info("syncfs_slow", store=self._root.marker.label, took_s=round(took_s, 3), files=files)

    def sealed(self, files: int) -> None:
        """A batch of so many files was made durable: time both ways, if that is due."""
        if self._sync == "auto" and files >= SYNCFS_FROM and time.perf_counter() >= self._due_s:
            self.time()

    def time(self) -> Timed | None:
        """Time both; None if that is not possible now: no store there, or nothing can be written."""
        self._due_s = time.perf_counter() + TIMED_EVERY_S
        try:
            with self._root.staging() as staging:
                if at_once(SYNCFS_FROM) < SYNCFS_FROM or not syncfs_works(staging):
                    self._timed = None
                    return None
                try:
                    os.mkdir(_PROBE, 0o700, dir_fd=staging)
                    with opened(staging, _PROBE) as fd:
                        self._timed = Timed(self._fsyncs(fd), _syncfs(fd))
                finally:
                    with suppress(OSError):
                        shutil.rmtree(_PROBE, dir_fd=staging)
        except OSError as exc:
            self._timed = None
            self._failed = self._failed or exc.errno == errno.EIO
        except StoreError:
            self._timed = None
        self._slow = False
        return self._timed

    def _fsyncs(self, fd: int) -> float:
        with ExitStack() as files:
            fds: list[int] = []
            for number in range(SYNCFS_FROM):
                fds.append(_file(fd, b"f%d" % number))
                files.callback(os.close, fds[-1])
            began_s = time.perf_counter()
            for failed in self._threads.each(_fsync, fds):
                if failed is not None:
                    raise failed
            return time.perf_counter() - began_s

    def _works(self) -> bool:
        """Whether syncfs is of use in this store; true where that cannot be looked at."""
        try:
            with self._root.opened() as fd:
                return syncfs_works(fd)
        except StoreError:
            return True

    def check(self) -> DoctorCheck:
        """For the doctor: both times, measured now, and what is used."""
        name = f"durability of store {self._root.marker.label}"
        if not self._works():
            return DoctorCheck(
                check=name,
                level="warning" if self._sync == "syncfs" else "ok",
                message=f"sync = {self._sync}: fsync for every file; of this filesystem or kernel it is not known that "
                "syncfs makes files durable and reports errors",
                hint='sync = "auto" says the same without this warning' if self._sync == "syncfs" else "",
            )
        if self._failed:
            return DoctorCheck(
                check=name,
                level="warning",
                message=f"sync = {self._sync}: fsync for every file, since a syncfs failed",
                hint="the disk may be failing: look at the kernel's log; syncfs is used again after the next start",
            )
        if self._sync == "auto" or self._timed is None:
            self.time()
        timed = self._timed
        if timed is None:
            return DoctorCheck(
                check=name,
                level="warning",
                message="not measured: no small files can be written to staging",
                hint="is the disk full, or read-only? may the daemon open too few files (ulimit -n)?",
            )
        used = "syncfs" if self._sync == "syncfs" or (self._sync == "auto" and self._is_quicker()) else "fsync"
        return DoctorCheck(
            check=name,
            level="ok",
            message=f"sync = {self._sync}: {used} for {SYNCFS_FROM} files or more; {SYNCFS_FROM} small files take "
            f"{timed.syncfs_s * 1e3:.1f} ms by syncfs, {timed.fsync_s * 1e3:.1f} ms by fsync",
            hint="",
        )


def syncfs_works(fd: int) -> bool:
    """Whether syncfs makes files durable on this filesystem, and reports what could not be written."""
    release = tuple(int(number) for number in re.findall(r"\d+", os.uname().release)[:2])
    return release >= _SYNCFS_REPORTS and filesystem_type(fd) in _SYNCFS_WORKS


def dirty_bytes() -> int:
    """Bytes that were written on this machine and are on no disk yet; 0 if the kernel does not say."""
    kib = 0
    with suppress(OSError, ValueError), open(_MEMORY, encoding="ascii") as memory:
        for line in memory:
            if line.startswith(("Dirty:", "Writeback:")):
                kib += int(line.split()[1])
    return kib << 10


def _file(directory: int, name: bytes) -> int:
    """A new small file, open and not durable. Raises OSError."""
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory)
    try:
        os.write(fd, bytes(_PROBE_BYTES))
    except OSError:
        os.close(fd)
        raise
    return fd


def _fsync(fd: int) -> OSError | None:
    try:
        os.fsync(fd)
    except OSError as exc:
        return exc
    return None


def _syncfs(directory: int) -> float:
    syncfs(directory)  # what others have written until now is not timed
    for number in range(SYNCFS_FROM):
        os.close(_file(directory, b"s%d" % number))
    began_s = time.perf_counter()
    syncfs(directory)
    return time.perf_counter() - began_s
