"""What the operating system's errors mean for a store. They are mapped in one place, so each has one name
everywhere.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager

from librarian_protocol.errors import NoInodes, StoreError, StoreFault, StoreFull


def store_error(exc: OSError, doing: str, root: str) -> StoreError:
    """The error for ``doing`` (a phrase like "writing to staging") in the directory ``root``.

    Its cause is always ``exc``, whether it is raised or returned: callers decide by it whether the disk failed.
    """
    error = _store_error(exc, doing, root)
    error.__cause__ = exc
    return error


def _store_error(exc: OSError, doing: str, root: str) -> StoreError:
    where = f"{doing} in {root}: {exc.strerror or exc}"
    if exc.errno == errno.ENOSPC:
        if _out_of_inodes(root):
            return NoInodes(
                f"no inodes left while {where}", hint="remove files, or make the filesystem with more inodes"
            )
        return StoreFull(f"no space left while {where}", hint="free space; work goes on by itself")
    if exc.errno == errno.EDQUOT:
        return StoreFull(f"quota exceeded while {where}", hint="raise the quota; work goes on by itself")
    if exc.errno == errno.EROFS:
        return StoreFault(f"the filesystem is read-only: {where}", hint="look at the kernel's log, remount it")
    if exc.errno in {errno.EACCES, errno.EPERM}:
        return StoreFault(f"not permitted: {where}", hint="check owner and mode for the daemon's user")
    return StoreFault(f"the filesystem failed while {where}", hint="look at the kernel's log")


def _out_of_inodes(root: str) -> bool:
    try:
        state = os.statvfs(root)
    except OSError:
        return False
    return state.f_files > 0 and state.f_favail == 0


@contextmanager
def naming(doing: str, root: str) -> Generator[None]:
    """Turn every OSError of the block into the StoreError that names it."""
    try:
        yield
    except OSError as exc:
        raise store_error(exc, doing, root) from exc
