"""Finding books again where nothing but the store is left: which manifest lists what stands in a directory.

A directory is looked up by what stands *directly* in it: names, kinds, and sizes of files, summed so that their order
does not matter. What is found that way is a candidate; only reading every member tells.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from blake3 import blake3

from librarian_daemon.store.books import read_manifest
from librarian_daemon.store.confined import READ_FILE, opened
from librarian_daemon.store.layout import MANIFESTS, Root
from librarian_protocol.digests import Digest
from librarian_protocol.errors import LibrarianError
from librarian_protocol.manifest import Member, MemberFile

_MODULUS = 1 << 128
#: A digest and the bytes of all its members.
Candidate = tuple[Digest, int]


class BookFinder:
    """What the manifests of one store list. Memory: some 200 bytes a manifest."""

    def __init__(self, root: Root) -> None:
        """Reads all manifests; blocking. A damaged one finds nothing."""
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
            if first != last:  # members below one directory follow one another
                total += _one(first, None)
            last = first
        else:
            total += _one(path, member.size_bytes)
    return total % _MODULUS, size_bytes


def _key(children: Iterable[tuple[bytes, int | None]]) -> int:
    return sum(_one(name, size) for name, size in children) % _MODULUS


def _one(name: bytes, size: int | None) -> int:
    """Of one thing in a directory; a directory has no size."""
    text = name + b"\0" + (b"directory" if size is None else str(size).encode())
    return int.from_bytes(blake3(text).digest(16), "big")
