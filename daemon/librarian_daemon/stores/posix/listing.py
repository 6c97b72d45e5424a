"""Lists the content of a store without reading bytes: one directory at a time, in pages."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import islice

from librarian_adapters.beneath import DIRECTORY, open_beneath
from librarian_daemon.fs.book_tree import Extra
from librarian_daemon.fs.os_errors import naming
from librarian_daemon.fs.threads import Threads
from librarian_daemon.ports.store import Looked
from librarian_daemon.ports.store_capabilities import DirEntry, Expected
from librarian_daemon.stores.posix.book_finder import BooksByContent, PosixBookFinder
from librarian_daemon.stores.posix.landing_check import compare
from librarian_daemon.stores.posix.layout import OURS, Root
from librarian_protocol.errors import SourceMissing

PAGE = 500


class PosixListing:
    """Implements :class:`librarian_daemon.ports.store_capabilities.Listing`."""

    def __init__(self, root: Root, threads: Threads) -> None:
        self._root = root
        self._threads = threads

    async def entries(self, directory: bytes) -> AsyncIterator[Sequence[DirEntry]]:
        """The content of one directory, in pages; ``b""`` is the store itself, without its own files.

        Raises:
            StoreError: it cannot be listed.
        """
        with naming(f"listing {os.fsdecode(directory)!a}", self._root.path):
            pages = entries(self._root, directory)
            while (page := await self._threads.run(next, pages, None)) is not None:
                yield page

    async def books(self) -> PosixBookFinder:
        """What the store's manifests list, to find books again. Reads all of them.

        Raises:
            StoreNotMounted, StoreFault: the store does not answer.
        """
        with naming("reading manifests", self._root.path):
            books = await self._threads.run(BooksByContent, self._root)
        return PosixBookFinder(self._root, self._threads, books)


def entries(root: Root, directory: bytes) -> Iterator[list[DirEntry]]:
    """The content of a directory, without the store's own files.

    A directory that has vanished, or cannot be read, is empty: nothing is concluded from missing entries.
    """
    with root.opened() as fd:
        try:
            here = open_beneath(fd, directory, DIRECTORY)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return
        try:
            with os.scandir(here) as found:
                for page in iter(lambda: list(islice(found, PAGE)), []):
                    yield [_entry(directory, entry) for entry in page if directory or os.fsencode(entry.name) != OURS]
        finally:
            os.close(here)


def _entry(directory: bytes, entry: os.DirEntry[str]) -> DirEntry:
    name = os.fsencode(entry.name)
    is_directory = entry.is_dir(follow_symlinks=False)
    is_file = entry.is_file(follow_symlinks=False)
    return DirEntry(
        path=directory + b"/" + name if directory else name,
        directory=is_directory,
        other=not is_directory and not is_file,
        size_bytes=entry.stat(follow_symlinks=False).st_size if is_file else 0,
    )


def look(root: Root, wanted: Expected) -> Looked:
    """What is at a name."""
    extra = Extra()
    with root.opened() as fd:
        try:
            error = compare(fd, fd, os.fsencode(wanted.name), wanted, read_bytes=False, extra=extra)
        except (FileNotFoundError, NotADirectoryError):
            error = SourceMissing(f"nothing stands at {wanted.name!a}")
    return Looked(error, extra)
