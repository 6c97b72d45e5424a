"""Opening, making and renaming below a directory descriptor, never through a symbolic link (I9).

Paths are bytes, relative, and are looked up by the kernel beneath the descriptor: ``..``, absolute paths and
links fail, however often somebody swaps a directory for a link meanwhile. All functions raise OSError; a link in
the way is ``ELOOP`` (or ``ENOTDIR`` where a directory was asked for), a way out is ``EXDEV``.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long
_SYS_OPENAT2 = 437  # the same on every architecture that Python's Linux wheels are built for
_NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 0x02, 0x04, 0x08
_RENAME_NOREPLACE = 1
_AT_FDCWD = -100
#: openat2 answers EAGAIN when a rename elsewhere might have moved what it walked; it need not go on for ever.
_TRIES = 64
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
    if has_openat2():
        return _openat2(dirfd, path or b".", flags, mode)
    return _walk(dirfd, path, flags, mode)


@contextmanager
def opened(dirfd: int, path: bytes, flags: int = DIRECTORY, mode: int = 0) -> Generator[int]:
    """As :func:`open_beneath`, closed at the end of the block."""
    fd = open_beneath(dirfd, path, flags, mode)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def directory(path: str) -> Generator[int]:
    """A descriptor for a configured directory, whose own path may hold links: an administrator chose it."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def split(path: bytes) -> tuple[bytes, bytes]:
    """The parent (``b""`` at the top) and the last component."""
    parent, _, last = path.rpartition(b"/")
    return parent, last


def make_directories(dirfd: int, path: bytes, mode: int = 0o755, durable: set[bytes] | None = None) -> None:
    """Have every directory of ``path``, each link of the chain fsynced. Idempotent.

    A directory that exists may be another thread's, or a crashed process's, and not durable yet: so the parents
    of existing ones are fsynced as well, unless they stand in ``durable``, the caller's memory of what was.
    """
    if not path or (durable is not None and path in durable and _is_directory(dirfd, path)):
        return
    parent, last = split(path)
    make_directories(dirfd, parent, mode, durable)
    with opened(dirfd, parent) as fd:
        try:
            os.mkdir(last, mode, dir_fd=fd)
        except FileExistsError:
            os.close(open_beneath(fd, last, DIRECTORY))  # ENOTDIR or ELOOP where it is something else
        os.fsync(fd)
    if durable is not None:
        durable.add(path)


def _is_directory(dirfd: int, path: bytes) -> bool:
    try:
        os.close(open_beneath(dirfd, path, DIRECTORY))
    except OSError:
        return False
    return True


def rename_noreplace(from_fd: int, old: bytes, to_fd: int, new: bytes) -> None:
    """Rename one component below each descriptor, never over anything (``EEXIST``)."""
    result = _LIBC.renameat2(
        ctypes.c_int(from_fd),
        ctypes.c_char_p(old),
        ctypes.c_int(to_fd),
        ctypes.c_char_p(new),
        ctypes.c_uint(_RENAME_NOREPLACE),
    )
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), old, None, new)


def move(from_fd: int, old: bytes, to_fd: int, new: bytes) -> None:
    """Rename a path below one descriptor to a path below another, never over anything. Fsyncs nothing."""
    old_parent, old_name = split(old)
    new_parent, new_name = split(new)
    with opened(from_fd, old_parent) as source, opened(to_fd, new_parent) as target:
        rename_noreplace(source, old_name, target, new_name)


def stat_beneath(dirfd: int, path: bytes) -> os.stat_result:
    """What stands at the path, not followed where it is a link itself."""
    parent, name = split(path)
    with opened(dirfd, parent) as fd:
        return os.stat(name, dir_fd=fd, follow_symlinks=False)


def fsync_beneath(dirfd: int, path: bytes) -> None:
    """Make a directory's entries durable."""
    with opened(dirfd, path) as fd:
        os.fsync(fd)


def syncfs(fd: int) -> None:
    """Make everything on that filesystem durable; reports write-back errors since Linux 5.8."""
    if _LIBC.syncfs(ctypes.c_int(fd)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def write_file(dirfd: int, name: bytes, data: bytes, mode: int = 0o644) -> None:
    """Replace a small file durably: temporary name, fsync, rename, fsync of the directory."""
    temporary = name + b".new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=dirfd)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(temporary, name, src_dir_fd=dirfd, dst_dir_fd=dirfd)
    os.fsync(dirfd)
