"""The staging area of a store on a filesystem: implements :class:`librarian_adapters.contract.Staging`.

A key is a file below ``.librarian/staging``; a member's key has directories, which are made on demand. Blocks of zeros
become holes. Nothing here is durable before the store seals it, and nothing here has a file's name.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress

from librarian_adapters.beneath import DIRECTORY, READ_FILE, open_beneath
from librarian_adapters.contract import Buffer, Item
from librarian_daemon.fs import sparse
from librarian_daemon.fs.beneath import opened, split
from librarian_daemon.fs.hashing import hash_fd
from librarian_daemon.fs.os_errors import naming
from librarian_daemon.fs.threads import Threads
from librarian_daemon.stores.posix.layout import staging_root
from librarian_daemon.stores.posix.scratch import FileScratch
from librarian_daemon.stores.posix.sink import FileSink, Written, stamp_from, stamp_of
from librarian_protocol.digests import Digest
from librarian_protocol.errors import StoreError

_WRITE = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW
_MODE = 0o600
#: Digests that are remembered, some groups of small items; others are read from the file.
_MOST_WRITTEN = 4000


class FileStaging:
    """Files below one directory. Every key is opened beneath it (I9)."""

    def __init__(self, staging: Callable[[], AbstractContextManager[int]], root: str, threads: Threads) -> None:
        """``staging`` opens the directory for each use: the store may be unmounted between two."""
        self._staging = staging
        self._root = root
        self._threads = threads
        #: By key, what was written here from the first byte to the last, and nobody has asked for yet.
        self._written: dict[str, Written] = {}

    async def create(self, item: Item, *, resume: bool = False) -> FileSink:
        """Open the item's file: empty, or, with ``resume``, positioned at the end of what is there.

        More bytes than ``item.size_bytes`` cannot be its beginning; they are discarded.

        Raises:
            StoreNotMounted, StoreFull, NoInodes, StoreFault: why not.
        """
        return await self._threads.run(self._create, item, resume)

    def _create(self, item: Item, resume: bool) -> FileSink:
        with self._opened(item) as (parent, name), naming("making a staged file", self._root):
            fd = os.open(name, _WRITE | (0 if resume else os.O_TRUNC), _MODE, dir_fd=parent)
            try:
                offset = os.lseek(fd, 0, os.SEEK_END)
                if offset > item.size_bytes:
                    os.ftruncate(fd, 0)
                    offset = os.lseek(fd, 0, os.SEEK_SET)
            except OSError:
                os.close(fd)
                raise

        return FileSink(fd, offset, self._root, self._threads, lambda written: self._keep(item.key, written))

    def _keep(self, key: str, written: Written) -> None:
        if len(self._written) >= _MOST_WRITTEN:
            self._written.clear()
        self._written[key] = written

    async def put(self, items: Sequence[tuple[Item, Buffer]]) -> None:
        """Write many small items whole, each replacing what was there. After an error any of them may be there.

        Raises:
            StoreNotMounted, StoreFull, NoInodes, StoreFault: why not.
        """
        await self._threads.run(self._put, items)

    def _put(self, items: Sequence[tuple[Item, Buffer]]) -> None:
        with self._staging() as staging, naming("writing to staging", self._root):
            for item, data in items:
                key = os.fsencode(item.key)
                if b"/" in key:
                    with _parent(staging, key) as (parent, name):
                        stamp = _write_new(parent, name, data)
                else:
                    stamp = _write_new(staging, key, data)
                self._keep(item.key, Written(len(data), Digest.blake3(data), stamp))

    async def read_back(self, item: Item) -> tuple[int, Digest]:
        """Size and blake3 of the present bytes (docs/adr/0033).

        They are read from the file; but not where one sink, or :meth:`put`, wrote all of it and nobody wrote to it
        since: then what was written was hashed.

        Raises:
            StoreFault: it is not there, or cannot be read.
        """
        (found,) = await self._threads.run(self._read_back_many, [item])
        if isinstance(found, StoreError):
            raise found
        return found

    def _read_back(self, staging: int, key: str) -> tuple[int, Digest]:
        """Raises OSError."""
        written = self._written.pop(key, None)
        if written is not None and "/" not in key:
            state = os.stat(os.fsencode(key), dir_fd=staging, follow_symlinks=False)
            if stamp_from(state) == written.stamp:
                return written.size_bytes, written.digest
        fd = open_beneath(staging, os.fsencode(key), READ_FILE)
        try:
            if written is not None and written.stamp == stamp_of(fd):
                return written.size_bytes, written.digest
            return hash_fd(fd)
        finally:
            os.close(fd)

    async def read_back_many(self, items: Sequence[Item]) -> Sequence[tuple[int, Digest] | StoreError]:
        """As :meth:`read_back` of each, in order, in one call to a thread."""
        return await self._threads.run(self._read_back_many, items)

    def _read_back_many(self, items: Sequence[Item]) -> list[tuple[int, Digest] | StoreError]:
        found: list[tuple[int, Digest] | StoreError] = []
        try:
            with self._staging() as staging:
                for item in items:
                    try:
                        with naming("reading a staged file", self._root):
                            found.append(self._read_back(staging, item.key))
                    except StoreError as exc:
                        found.append(exc)
        except StoreError as exc:
            return [exc] * len(items)
        return found

    async def discard(self, item: Item) -> None:
        """Remove the staged file, or everything below a book's own key. Idempotent.

        Raises:
            StoreFault: it is there and cannot be removed.
        """
        await self._threads.run(self.remove, [item.key])

    def remove(self, keys: Sequence[str]) -> None:
        """Remove what is there under the keys, trees and all. Idempotent. Blocking."""
        if not keys:
            return
        with self._staging() as staging:
            for key in keys:
                with naming("removing a staged file", self._root), suppress(FileNotFoundError):
                    remove(staging, os.fsencode(key))

    async def scratch(self, name: str) -> FileScratch:
        """A directory of that name for a program that writes files itself; see the contract.

        Raises:
            StoreNotMounted, StoreFull, NoInodes, StoreFault: why it cannot be made.
        """
        made = FileScratch(
            name=name,
            staging_root=staging_root(self._root),
            staging=self._staging,
            place=self._placed,
            threads=self._threads,
        )
        await made.make()
        return made

    @contextmanager
    def _placed(self, key: bytes) -> Generator[tuple[int, bytes]]:
        with self._staging() as staging, _parent(staging, key) as found:
            yield found

    @contextmanager
    def _opened(self, item: Item) -> Generator[tuple[int, bytes]]:
        with (
            self._staging() as staging,
            naming("opening staging", self._root),
            _parent(staging, os.fsencode(item.key)) as found,
        ):
            yield found


def _write_new(parent: int, name: bytes, data: Buffer) -> tuple[int, ...]:
    """A file with these bytes in place of what was there; its stamp. Raises OSError."""
    fd = os.open(name, _WRITE | os.O_TRUNC, _MODE, dir_fd=parent)
    try:
        sparse.write_all(fd, data)
        return stamp_of(fd)
    finally:
        os.close(fd)


@contextmanager
def _parent(staging: int, key: bytes) -> Generator[tuple[int, bytes]]:
    """The directory of the key's file, made if it is missing, and the file's own name."""
    parent, name = split(key)
    if not parent:
        yield staging, name
        return
    try:
        fd = open_beneath(staging, parent, DIRECTORY)
    except FileNotFoundError:
        make_staged_directories(staging, parent)
        fd = open_beneath(staging, parent, DIRECTORY)
    try:
        yield fd, name
    finally:
        os.close(fd)


def remove(staging: int, key: bytes) -> None:
    """Remove a file or a tree. Raises FileNotFoundError, other OSError."""
    parent, name = split(key)
    with opened(staging, parent) as fd:
        try:
            os.unlink(name, dir_fd=fd)
        except IsADirectoryError:
            shutil.rmtree(name, dir_fd=fd)


def make_staged_directories(staging: int, path: bytes) -> None:
    """Plain directories: the store fsyncs a book's tree when it seals it."""
    parent, last = split(path)
    if parent:
        make_staged_directories(staging, parent)
    with opened(staging, parent) as fd, suppress(FileExistsError):
        os.mkdir(last, 0o755, dir_fd=fd)
