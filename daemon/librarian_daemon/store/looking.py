"""Looking at what stands in a store, without reading bytes: one directory at a time, in pages."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice

import msgspec

from librarian_daemon.ports import Landing
from librarian_daemon.store.comparing import compare
from librarian_daemon.store.confined import DIRECTORY, open_beneath
from librarian_daemon.store.layout import OURS, Root
from librarian_protocol.errors import LibrarianError, SourceMissing

PAGE = 500


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One thing in a directory of a store."""

    #: Path below the store, as the filesystem has it.
    path: bytes
    directory: bool
    #: Neither a directory nor a regular file: nothing of ours.
    other: bool
    size_bytes: int


def entries(root: Root, directory: bytes) -> Iterator[list[Standing]]:
    """What stands in a directory, but for what the store keeps for itself.

    A directory that is gone meanwhile, or may not be read, is empty: nothing is concluded from what is not seen.
    """
    with root.opened() as fd:
        try:
            here = open_beneath(fd, directory, DIRECTORY)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return
        try:
            with os.scandir(here) as found:
                for page in iter(lambda: list(islice(found, PAGE)), []):
                    yield [_standing(directory, one) for one in page if directory or os.fsencode(one.name) != OURS]
        finally:
            os.close(here)


def _standing(directory: bytes, entry: os.DirEntry[str]) -> Standing:
    name = os.fsencode(entry.name)
    is_directory = entry.is_dir(follow_symlinks=False)
    is_file = entry.is_file(follow_symlinks=False)
    return Standing(
        path=directory + b"/" + name if directory else name,
        directory=is_directory,
        other=not is_directory and not is_file,
        size_bytes=entry.stat(follow_symlinks=False).st_size if is_file else 0,
    )


def look(root: Root, wanted: Landing) -> LibrarianError | None:
    """What is wrong with what stands at a name, by kinds, names and sizes; None where nothing is."""
    with root.opened() as fd:
        try:
            return compare(fd, fd, os.fsencode(wanted.name), wanted, read_bytes=False)
        except (FileNotFoundError, NotADirectoryError):
            return SourceMissing(f"nothing stands at {wanted.name!a}")
