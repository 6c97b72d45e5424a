"""Finds books again when only the store is left: which manifest lists the content of a directory.

A directory is looked up by its *direct* content: names, kinds, and sizes of files, summed so that their order does not
matter. The result is a candidate; only reading every member proves it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from blake3 import blake3

from librarian_adapters.beneath import READ_FILE
from librarian_daemon.fs.beneath import opened
from librarian_daemon.fs.book_tree import read_manifest
from librarian_daemon.fs.os_errors import naming
from librarian_daemon.fs.threads import Threads
from librarian_daemon.ports.store_capabilities import Candidate
from librarian_daemon.stores.posix.layout import MANIFESTS, Root
from librarian_protocol.digests import Digest
from librarian_protocol.errors import LibrarianError
from librarian_protocol.manifest import Member, MemberFile

_MODULUS = 1 << 128


class BooksByContent:
    """What the manifests of one store list. Memory: some 200 bytes a manifest."""

    def __init__(self, root: Root) -> None:
        """Read all manifests; blocking. A damaged manifest is skipped."""
        self._root = root
        self._books: dict[int, list[Candidate]] = {}
        with root.opened() as fd, opened(fd, MANIFESTS) as manifests, os.scandir(manifests) as entries:
            for entry in entries:
                self._add(manifests, entry.name)

    def _add(self, manifests: int, name: str) -> None:
        try:
            digest = Digest.parse(f"blake3:{name}")
            with opened(manifests, os.fsencode(name), READ_FILE) as fd:
                key, size_bytes = _key_of_members(read_manifest(fd, digest))
        except (LibrarianError, ValueError, OSError):
            return
        self._books.setdefault(key, []).append((digest, size_bytes))

    def candidates(self, directory: bytes) -> list[Candidate]:
        """Books that a directory of the store may be; blocking.

        Raises:
            OSError: it cannot be listed.
        """
        with self._root.opened() as fd, opened(fd, directory) as here, os.scandir(here) as entries:
            return self._books.get(_key(_children(entries)), [])


class PosixBookFinder:
    """Implements :class:`librarian_daemon.ports.store_capabilities.BookFinder`."""

    def __init__(self, root: Root, threads: Threads, books: BooksByContent) -> None:
        self._root = root
        self._threads = threads
        self._books = books

    async def candidates(self, directory: bytes) -> Sequence[Candidate]:
        """Books that a directory may be, by its direct content.

        Raises:
            StoreNotMounted, StoreFault: the store does not answer.
        """
        with naming(f"listing {os.fsdecode(directory)!a}", self._root.path):
            return await self._threads.run(self._books.candidates, directory)


def _children(entries: Iterable[os.DirEntry[str]]) -> Iterator[tuple[bytes, int | None]]:
    for entry in entries:
        size = None if entry.is_dir(follow_symlinks=False) else entry.stat(follow_symlinks=False).st_size
        yield os.fsencode(entry.name), size


def _key_of_members(members: Iterable[Member]) -> tuple[int, int]:
    """The key of a manifest, and the bytes of all its members."""
    total, size_bytes, last = 0, 0, b""
    for member in members:
        path = os.fsencode(member.path)
        size_bytes += member.size_bytes if isinstance(member, MemberFile) else 0
        first, slash, _ = path.partition(b"/")
        if slash or not isinstance(member, MemberFile):
            if first != last:  # the members of one directory follow one another
                total += _entry_key(first, None)
            last = first
        else:
            total += _entry_key(path, member.size_bytes)
    return total % _MODULUS, size_bytes


def _key(children: Iterable[tuple[bytes, int | None]]) -> int:
    return sum(_entry_key(name, size) for name, size in children) % _MODULUS


def _entry_key(name: bytes, size: int | None) -> int:
    """The sum of one entry in a directory; a directory has no size."""
    text = name + b"\0" + (b"directory" if size is None else str(size).encode())
    return int.from_bytes(blake3(text).digest(16), "big")
