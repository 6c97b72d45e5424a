"""Bytes that leave their names for a while: implements :class:`librarian_daemon.ports.store_capabilities.Trash`.

``.librarian/trash/<nonce>/`` has ``list``, and a file or directory for each number of it::

    {"v":1,"files":[{"number":0,"name":"…","digest":"…","unit":"file","size_bytes":4096}, …]}
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec
import structlog

from librarian_adapters.beneath import READ_FILE, open_beneath
from librarian_daemon.fs.beneath import fsync_beneath, make_directories, move, opened, split, write_file
from librarian_daemon.fs.os_errors import naming, store_error
from librarian_daemon.fs.threads import Threads
from librarian_daemon.ports.store_capabilities import InTrash, trash_place
from librarian_daemon.stores.posix import set_aside
from librarian_daemon.stores.posix.landing_check import exists
from librarian_daemon.stores.posix.layout import TRASH, Root
from librarian_daemon.stores.posix.staging import remove
from librarian_protocol import wire
from librarian_protocol.errors import SourceMissing, StoreError
from librarian_protocol.names import Name

_LIST = b"list"
_VERSION = 1
_NONCE = re.compile(r"[0-9a-f]{32}\Z")


class _List(msgspec.Struct, frozen=True, kw_only=True):
    v: int
    files: list[InTrash]


_DECODER = wire.decoder(_List)
_log = structlog.get_logger("trash")


class PosixTrash:
    """The trash of one store."""

    def __init__(self, root: Root, threads: Threads) -> None:
        self._root = root
        self._threads = threads

    async def put(self, nonce: str, files: Sequence[InTrash]) -> Sequence[StoreError | SourceMissing | None]:
        """See the port."""
        return await self._threads.run(self._put, nonce, files)

    def _put(self, nonce: str, files: Sequence[InTrash]) -> list[StoreError | SourceMissing | None]:
        with self._root.opened() as root:
            with naming("writing the list of a directory in trash", self._root.path):
                make_directories(root, _directory(nonce), 0o700)
                with opened(root, _directory(nonce)) as directory:
                    write_file(directory, _LIST, wire.encode(_List(v=_VERSION, files=list(files))), 0o600)
            outcomes = [self._rename(root, file.name, trash_place(nonce, file.number)) for file in files]
            left = {split(os.fsencode(file.name))[0] for file, wrong in zip(files, outcomes, strict=True) if not wrong}
            touched = [*sorted(left), _directory(nonce)]
            failed = dict(zip(touched, self._threads.each(lambda path: self._fsync(root, path), touched), strict=True))
            for at, file in enumerate(files):
                if outcomes[at] is None:
                    outcomes[at] = failed[split(os.fsencode(file.name))[0]] or failed[_directory(nonce)]
            return outcomes

    def _rename(self, root: int, old: Name, new: Name) -> StoreError | SourceMissing | None:
        try:
            move(root, os.fsencode(old), root, os.fsencode(new))
        except (FileNotFoundError, NotADirectoryError):
            return SourceMissing(f"nothing stands at {old!a}")
        except OSError as exc:
            return store_error(exc, f"moving {old!a} to trash", self._root.path)
        return None

    def _fsync(self, root: int, path: bytes) -> StoreError | None:
        try:
            fsync_beneath(root, path)
        except OSError as exc:
            return store_error(exc, "making a rename durable", self._root.path)
        return None

    async def lists(self) -> Mapping[str, Sequence[InTrash]]:
        """See the port."""
        with naming("looking into trash", self._root.path):
            return await self._threads.run(self._lists)

    def _lists(self) -> dict[str, list[InTrash]]:
        found: dict[str, list[InTrash]] = {}
        with self._root.opened() as root, opened(root, TRASH) as trash:
            for nonce in sorted(os.listdir(trash)):
                if not _NONCE.match(nonce):
                    continue
                there = set(_content(trash, nonce.encode()))
                listed = self._read(trash, nonce.encode()) if there - {_LIST} else []
                files = [file for file in listed if b"%d" % file.number in there]
                if files:
                    found[nonce] = files
                else:
                    _remove_if_empty(trash, nonce.encode())
                unlisted = sorted(there - {_LIST, _LIST + b".new"} - {b"%d" % file.number for file in files})
                if unlisted:
                    _log.error("not_listed_in_trash", directory=nonce, entries=len(unlisted))
        return found

    def _read(self, trash: int, nonce: bytes) -> list[InTrash]:
        try:
            with opened(trash, nonce + b"/" + _LIST, READ_FILE) as fd, os.fdopen(os.dup(fd), "rb") as stream:
                return _DECODER.decode(stream.read()).files
        except FileNotFoundError:
            return []
        except wire.NOT_DECODABLE as exc:
            _log.error("list_in_trash_damaged", directory=nonce.decode(), error=wire.why(exc))
            return []

    async def bring_back(self, nonce: str, file: InTrash, *, aside: bool) -> bool:
        """See the port."""
        with naming(f"bringing {file.name!a} back from trash", self._root.path):
            return await self._threads.run(self._bring_back, nonce, file, aside)

    def _bring_back(self, nonce: str, file: InTrash, aside: bool) -> bool:
        old = os.fsencode(trash_place(nonce, file.number))
        new = set_aside.place(file.digest) if aside else os.fsencode(file.name)
        with self._root.opened() as root:
            if not exists(root, old):
                return False
            parent = split(new)[0]
            if parent:
                make_directories(root, parent, settle=None if aside else self._root.modes.above)
            try:
                move(root, old, root, new)
            except OSError as exc:
                if exc.errno in {errno.EEXIST, errno.ENOTDIR, errno.ENOTEMPTY}:
                    return False
                raise
            for path in (parent, split(old)[0]):
                fsync_beneath(root, path)
            with opened(root, TRASH) as trash:
                _remove_if_empty(trash, nonce.encode())
            return True

    async def empty(self, nonce: str, files: Sequence[InTrash]) -> None:
        """See the port."""
        with naming("emptying trash", self._root.path):
            await self._threads.run(self._empty, nonce, files)

    def _empty(self, nonce: str, files: Sequence[InTrash]) -> None:
        with self._root.opened() as root, opened(root, TRASH) as trash:
            try:
                directory = open_beneath(trash, nonce.encode(), os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:
                return
            try:
                for file in files:
                    with suppress(FileNotFoundError):
                        remove(directory, b"%d" % file.number)
            finally:
                os.close(directory)
            _remove_if_empty(trash, nonce.encode())


def _directory(nonce: str) -> bytes:
    return TRASH + b"/" + nonce.encode()


def _content(trash: int, nonce: bytes) -> list[bytes]:
    with opened(trash, nonce) as fd:
        return [os.fsencode(name) for name in os.listdir(fd)]


def _remove_if_empty(trash: int, nonce: bytes) -> None:
    """Remove a directory that has only its list."""
    if set(_content(trash, nonce)) - {_LIST, _LIST + b".new"}:
        return
    with opened(trash, nonce) as fd:
        for name in (_LIST + b".new", _LIST):
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=fd)
    os.rmdir(nonce, dir_fd=trash)
