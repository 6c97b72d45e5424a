"""Making and renaming below a directory descriptor, never through a symbolic link (I9).

Paths and errors are those of :mod:`librarian_adapters.beneath`.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

from librarian_adapters.beneath import DIRECTORY, open_beneath

_LIBC = ctypes.CDLL(None, use_errno=True)
_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2
_SYNC_FILE_RANGE_WAIT_BEFORE = 1


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
    """A descriptor for a configured directory. Its own path may contain links, since an administrator chose it."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def split(path: bytes) -> tuple[bytes, bytes]:
    """The parent (``b""`` at the top) and the last component."""
    parent, _, last = path.rpartition(b"/")
    return parent, last


def make_directories(
    dirfd: int,
    path: bytes,
    mode: int = 0o755,
    durable: set[bytes] | None = None,
    settle: Callable[[int], None] | None = None,
) -> None:
    """Make every missing directory of ``path`` and fsync each one with its parent. Idempotent.

    ``settle`` gets the descriptor of each directory that is made, and sets what else it must have. It also gets an
    empty directory of this account: a crash may have come before it was set.

    Another thread, or a process that crashed, may have made an existing directory, and it may not be durable yet. So
    the parents of existing directories are fsynced too, unless they are in ``durable``, the caller's record of
    directories that were fsynced.
    """
    if not path or (durable is not None and path in durable and _is_directory(dirfd, path)):
        return
    parent, last = split(path)
    make_directories(dirfd, parent, mode, durable, settle)
    with opened(dirfd, parent) as fd:
        with suppress(FileExistsError):
            os.mkdir(last, mode, dir_fd=fd)
        with opened(fd, last) as made:  # ENOTDIR or ELOOP where it is something else
            if settle is not None and os.fstat(made).st_uid == os.geteuid() and _is_empty(made):
                settle(made)
                os.fsync(made)
        os.fsync(fd)
    if durable is not None:
        durable.add(path)


def _is_empty(fd: int) -> bool:
    with os.scandir(fd) as entries:
        return next(entries, None) is None


def _is_directory(dirfd: int, path: bytes) -> bool:
    try:
        os.close(open_beneath(dirfd, path, DIRECTORY))
    except OSError:
        return False
    return True


def rename_noreplace(from_fd: int, old: bytes, to_fd: int, new: bytes) -> None:
    """Rename one component below each descriptor, never over anything (``EEXIST``)."""
    _renameat2(from_fd, old, to_fd, new, _RENAME_NOREPLACE)


def _renameat2(from_fd: int, old: bytes, to_fd: int, new: bytes, flags: int) -> None:
    result = _LIBC.renameat2(
        ctypes.c_int(from_fd),
        ctypes.c_char_p(old),
        ctypes.c_int(to_fd),
        ctypes.c_char_p(new),
        ctypes.c_uint(flags),
    )
    _raise_failure(result, old, None, new)


def move(from_fd: int, old: bytes, to_fd: int, new: bytes) -> None:
    """Rename a path below one descriptor to a path below another, never over anything. Fsyncs nothing."""
    old_parent, old_name = split(old)
    new_parent, new_name = split(new)
    with opened(from_fd, old_parent) as source, opened(to_fd, new_parent) as target:
        rename_noreplace(source, old_name, target, new_name)


def exchange(from_fd: int, old: bytes, to_fd: int, new: bytes) -> None:
    """Have what stands at both paths change places, in one step: neither name is ever free. Fsyncs nothing.

    Raises:
        FileNotFoundError: nothing stands at one of them.
        OSError: ``EINVAL`` where the filesystem cannot do it.
    """
    old_parent, old_name = split(old)
    new_parent, new_name = split(new)
    with opened(from_fd, old_parent) as source, opened(to_fd, new_parent) as target:
        _renameat2(source, old_name, target, new_name, _RENAME_EXCHANGE)


def stat_beneath(dirfd: int, path: bytes) -> os.stat_result:
    """The status of what stands at the path. A link at the path itself is not followed."""
    parent, name = split(path)
    with opened(dirfd, parent) as fd:
        return os.stat(name, dir_fd=fd, follow_symlinks=False)


def fsync_beneath(dirfd: int, path: bytes) -> None:
    """Make a directory's entries durable."""
    with opened(dirfd, path) as fd:
        os.fsync(fd)


def syncfs(fd: int) -> None:
    """Make everything on that filesystem durable; reports write-back errors since Linux 5.8."""
    _raise_failure(_LIBC.syncfs(ctypes.c_int(fd)))


def wait_written(fd: int) -> None:
    """Wait until the kernel has written what it began to write of this file.

    Raises:
        OSError: some of its bytes could not be written, and nobody was told of it before.
    """
    whole = ctypes.c_int64(0), ctypes.c_int64(0)
    _raise_failure(_LIBC.sync_file_range(ctypes.c_int(fd), *whole, ctypes.c_uint(_SYNC_FILE_RANGE_WAIT_BEFORE)))


def _raise_failure(result: int, *paths: bytes | None) -> None:
    """Raise the OSError of a call of the C library; ``paths`` as OSError takes them."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), *paths)


def filesystem_type(where: int | str) -> int | None:
    """The number of the kind of filesystem that a descriptor or path is on (statfs(2)); None if it cannot be told."""
    buffer = (ctypes.c_long * 64)()
    if isinstance(where, int):
        failed = _LIBC.fstatfs(ctypes.c_int(where), ctypes.byref(buffer))
    else:
        failed = _LIBC.statfs(ctypes.c_char_p(os.fsencode(where)), ctypes.byref(buffer))
    return None if failed else buffer[0] & 0xFFFFFFFF


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
