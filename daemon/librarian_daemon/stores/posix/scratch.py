"""Directories in staging for programs that write files themselves: implements ``Scratch`` of the adapters' contract.

The output of such a program is not trusted: it is opened beneath the directory, never through a link, and only plain
files are used. A file that another account owns, or that has a second name, could still be written to: it is copied.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, suppress

from librarian_adapters.beneath import DIRECTORY, READ_FILE, open_beneath
from librarian_adapters.contract import Item, Part
from librarian_daemon.fs import sparse
from librarian_daemon.fs.beneath import opened, split
from librarian_daemon.fs.os_errors import naming
from librarian_daemon.fs.threads import Threads
from librarian_protocol.errors import SizeMismatch, SourceInvalid

_COPY_BYTES = 8 << 20
#: Names have 1024 bytes at most (docs/architecture.md).
MAX_PATH_BYTES = 1024
_SHARED = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
Place = Callable[[bytes], AbstractContextManager[tuple[int, bytes]]]


class FileScratch:
    """One directory. Made by :meth:`librarian_daemon.stores.posix.staging.FileStaging.scratch`."""

    def __init__(
        self,
        *,
        name: str,
        staging_root: str,
        staging: Callable[[], AbstractContextManager[int]],
        place: Place,
        threads: Threads,
    ) -> None:
        """``place`` gives the directory of a staging key, made if it is missing, and its own name."""
        self.path = os.path.join(staging_root, name)
        self._name = os.fsencode(name)
        self._root = staging_root
        self._staging = staging
        self._place = place
        self._threads = threads

    async def make(self) -> None:
        """Make the directory. Idempotent."""
        await self._threads.run(self._make)

    def _make(self) -> None:
        with self._staging() as staging, naming("making a directory in staging", self._root):
            with suppress(FileExistsError):
                os.mkdir(self._name, 0o700, dir_fd=staging)
            os.close(open_beneath(staging, self._name, DIRECTORY))  # and nothing else is there

    async def adopt(self, item: Item, relative: str) -> bool:
        """See the contract."""
        return await self._threads.run(self._adopt, item, os.fsencode(relative))

    def _adopt(self, item: Item, relative: bytes) -> bool:
        with self._opened() as scratch:
            if item.part is Part.TREE:
                return self._adopt_tree(scratch, item, relative)
            return self._take(scratch, relative, os.fsencode(item.key), item, item.size_bytes) is not None

    def _adopt_tree(self, scratch: int, item: Item, relative: bytes) -> bool:
        left = item.size_bytes
        try:
            fd = open_beneath(scratch, relative, DIRECTORY)
        except FileNotFoundError:
            return False
        except NotADirectoryError as exc:
            raise SourceInvalid(f"book {item.name!a}: something else than a directory came") from exc
        try:
            for path in _walk(fd, b"", item):
                left -= self._take(fd, path, os.fsencode(item.key) + b"/" + path, item, left) or 0
        finally:
            os.close(fd)
        return True

    def _take(self, source: int, relative: bytes, key: bytes, item: Item, most: int) -> int | None:
        """Move one file to its key. Returns its size; None if there is no file."""
        parent, name = split(relative)
        try:
            with opened(source, parent) as above:
                state = os.stat(name, dir_fd=above, follow_symlinks=False)
                shown = f"{item.part} of {item.name!a}"
                if not stat.S_ISREG(state.st_mode):
                    raise SourceInvalid(f"{shown}: what came at {os.fsdecode(relative)!a} is no plain file")
                if state.st_size > most:
                    raise SizeMismatch(f"{shown}: {state.st_size} bytes came where at most {most} were announced")
                with self._place(key) as (target, last):
                    if _is(state, target, last):  # shared: it was written in its place
                        os.unlink(name, dir_fd=above)
                    elif state.st_uid == os.geteuid() and state.st_nlink == 1:
                        os.rename(name, last, src_dir_fd=above, dst_dir_fd=target)
                        with opened(target, last, READ_FILE) as fd:
                            os.fchmod(fd, 0o600)
                    else:
                        _copy(above, name, target, last, most)
        except FileNotFoundError:
            return None
        return state.st_size

    async def share(self, item: Item, relative: str) -> None:
        """See the contract."""
        await self._threads.run(self._share, item, os.fsencode(relative))

    def _share(self, item: Item, relative: bytes) -> None:
        parent, name = split(relative)
        with self._opened() as scratch, self._place(os.fsencode(item.key)) as (place, last):
            with opened(place, last, _SHARED, 0o600) as fd:
                if os.fstat(fd).st_size > item.size_bytes:
                    os.ftruncate(fd, 0)
            here = b""
            for part in parent.split(b"/") if parent else ():
                above, here = here, os.path.join(here, part)
                with opened(scratch, above) as fd, suppress(FileExistsError):
                    os.mkdir(part, 0o700, dir_fd=fd)
            with opened(scratch, parent) as target:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=target)
                os.link(last, name, src_dir_fd=place, dst_dir_fd=target, follow_symlinks=False)

    async def remove(self) -> None:
        """See the contract."""
        await self._threads.run(self._remove)

    def _remove(self) -> None:
        with (
            self._staging() as staging,
            naming("removing a directory in staging", self._root),
            suppress(FileNotFoundError),
        ):
            shutil.rmtree(self._name, dir_fd=staging)

    @contextmanager
    def _opened(self) -> Generator[int]:
        with (
            self._staging() as staging,
            naming("taking over from staging", self._root),
            opened(staging, self._name) as fd,
        ):
            yield fd


def _is(state: os.stat_result, directory: int, name: bytes) -> bool:
    """Whether the same file is there."""
    try:
        other = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return (state.st_dev, state.st_ino) == (other.st_dev, other.st_ino)


def _walk(fd: int, below: bytes, item: Item) -> Generator[bytes]:
    """Paths of everything except directories below an open directory."""
    if len(below) > MAX_PATH_BYTES:
        raise SourceInvalid(f"book {item.name!a}: nested directories have paths beyond {MAX_PATH_BYTES} bytes")
    with os.scandir(fd) as entries:
        found = sorted((os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries)
    for name, is_directory in found:
        path = os.path.join(below, name)
        if is_directory:
            with opened(fd, name) as deeper:
                yield from _walk(deeper, path, item)
        else:
            yield path


def _copy(source: int, name: bytes, target: int, last: bytes, most: int) -> None:
    """Copy at most ``most`` bytes, whatever is appended meanwhile."""
    with opened(source, name, READ_FILE) as read, opened(target, last, _WRITE, 0o600) as write:
        left = most
        while left and (data := os.read(read, min(_COPY_BYTES, left))):
            left -= len(data)
            sparse.write(write, data)
        sparse.finish(write)
