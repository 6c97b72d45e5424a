"""Whether somebody has set a file's time, as rsync, cp and tar do when they finish. Blocking code.

A file that was only written to was last changed after it was made. If its time of change is earlier, or in the future,
somebody set it; rsync does so when it has finished. A file at which rsync was interrupted has no such time, or, if
rsync had to set times, the first second of 1970 and a fraction (seen with rsync 3.5; its ``cleanup.c``).
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys

from librarian_adapters.beneath import READ_FILE
from librarian_daemon.fs.beneath import opened

_LIBC = ctypes.CDLL(None, use_errno=True)
_AT_EMPTY_PATH = 0x1000
_BTIME = 0x800
#: Of ``struct statx`` (statx(2)), which has 256 bytes: stx_mask, stx_btime.
_SIZE, _AT_BTIME = 256, 80


def born_ns(fd: int) -> int | None:
    """When the file was made, ns since 1970; None if the filesystem does not keep it."""
    buffer = ctypes.create_string_buffer(_SIZE)
    if _LIBC.statx(ctypes.c_int(fd), b"", ctypes.c_int(_AT_EMPTY_PATH), ctypes.c_uint(_BTIME), buffer) != 0:
        return None
    mask = int.from_bytes(buffer.raw[:4], sys.byteorder)
    seconds = int.from_bytes(buffer.raw[_AT_BTIME : _AT_BTIME + 8], sys.byteorder, signed=True)
    nanoseconds = int.from_bytes(buffer.raw[_AT_BTIME + 8 : _AT_BTIME + 12], sys.byteorder)
    return seconds * 10**9 + nanoseconds if mask & _BTIME else None


def has_set_time(drop: int, rel: bytes) -> bool:
    """Whether the file's time was set. False if that cannot be seen: by its filesystem, or for lack of rights."""
    try:
        with opened(drop, rel, READ_FILE) as fd:
            state, born = os.fstat(fd), born_ns(fd)
    except OSError as exc:
        if exc.errno in {errno.EMFILE, errno.ENFILE, errno.EIO}:
            raise
        return False
    if born is None or is_stopped(state.st_mtime_ns):
        return False
    return not born <= state.st_mtime_ns <= state.st_ctime_ns


def is_stopped(mtime_ns: int) -> bool:
    """Whether it is the time that an interrupted rsync leaves. Archive programs set 1970 itself, without a fraction."""
    return 0 < mtime_ns < 10**9
