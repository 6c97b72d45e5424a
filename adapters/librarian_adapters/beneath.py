"""Opening below a directory descriptor, never through a symbolic link (I9).

Paths are bytes, relative, and are looked up by the kernel beneath the descriptor: ``..``, absolute paths and
links fail, however often somebody swaps a directory for a link meanwhile. All functions raise OSError; a link in
the way is ``ELOOP`` (or ``ENOTDIR`` where a directory was asked for), a way out is ``EXDEV``.
"""

from __future__ import annotations

import ctypes
import errno
import os
from functools import cache

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long
_SYS_OPENAT2 = 437  # the same on every architecture that Python's Linux wheels are built for
_NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 0x02, 0x04, 0x08
_AT_FDCWD = -100
#: openat2 answers EAGAIN when a rename elsewhere might have moved what it walked; it need not go on for ever.
_TRIES = 64
#: Names by which a directory has itself and the one above it.
_NOT_ENTRIES = frozenset({b"", b".", b".."})
READ_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def _openat2(dirfd: int, path: bytes, flags: int, mode: int) -> int:
    how = _OpenHow(flags | os.O_CLOEXEC, mode, _BENEATH | _NO_SYMLINKS | _NO_MAGICLINKS)
    for _ in range(_TRIES):
        fd = int(
            _LIBC.syscall(
                ctypes.c_long(_SYS_OPENAT2),
                ctypes.c_int(dirfd),
                ctypes.c_char_p(path),
                ctypes.byref(how),
                ctypes.c_size_t(ctypes.sizeof(how)),
            )
        )
        if fd >= 0:
            return fd
        if ctypes.get_errno() not in {errno.EAGAIN, errno.EINTR}:
            break
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number), path)


@cache
def has_openat2() -> bool:
    """Whether the kernel has it and no seccomp filter hides it."""
    try:
        os.close(_openat2(_AT_FDCWD, b".", os.O_PATH | os.O_DIRECTORY, 0))
    except OSError:
        return False
    return True


def _components(path: bytes) -> list[bytes]:
    parts = path.split(b"/")
    if path.startswith(b"/") or b".." in parts:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    return [part for part in parts if part not in {b"", b"."}]


def _walk(dirfd: int, path: bytes, flags: int, mode: int) -> int:
    """openat2's work by hand, for kernels without it: one component at a time, following nothing."""
    *above, last = _components(path) or [b"."]
    here = os.dup(dirfd)
    try:
        for part in above:
            deeper = os.open(part, DIRECTORY, dir_fd=here)
            os.close(here)
            here = deeper
        return os.open(last, flags | os.O_NOFOLLOW, mode, dir_fd=here)
    finally:
        os.close(here)


def open_beneath(dirfd: int, path: bytes, flags: int, mode: int = 0) -> int:
    """Open ``path`` below ``dirfd``; the caller closes what it gets. ``b""`` is the directory itself."""
    if b"/" not in path and path not in _NOT_ENTRIES:  # one entry, not followed: nothing else can be reached by it
        return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=dirfd)
    if has_openat2():
        return _openat2(dirfd, path or b".", flags, mode)
    return _walk(dirfd, path, flags, mode)
