"""Makes landed bytes durable in their place, before their landing is recorded. Blocking code."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress

import msgspec
import structlog

from librarian_adapters.beneath import READ_FILE, open_beneath
from librarian_daemon.fs import book_tree
from librarian_daemon.fs.beneath import directory, opened, split, wait_written
from librarian_daemon.fs.kept import KeptRoots, at_once
from librarian_daemon.fs.os_errors import store_error
from librarian_daemon.fs.threads import Threads
from librarian_daemon.ports.store import Landing, NotPlaced
from librarian_daemon.stores.posix.durability import SYNCFS_FROM, Durability
from librarian_daemon.stores.posix.landing_check import landing_manifest, missing
from librarian_daemon.stores.posix.layout import Root, staging_root
from librarian_daemon.stores.posix.lists import Fitting, fitting, of_file
from librarian_protocol.attributes import PLAIN, OfMember
from librarian_protocol.entries import Unit
from librarian_protocol.errors import ChecksumMismatch, InputError, SizeMismatch, StoreError, StoreFault

#: Single files that are open at once: a batch; where the process may open fewer, it becomes durable in portions.
_OPEN_AT_ONCE = 1024
#: Members of a book that are handed to the threads at once.
_PORTION = 128
#: Behind the last member of a list.
_END = (b"", PLAIN)
_log = structlog.get_logger("store")


class NotDurable(Exception):
    """An fsync failed: the kernel may now treat the same pages as clean, so these bytes cannot be trusted."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


def fsync(fd: int) -> None:
    """As ``os.fsync``.

    Raises:
        NotDurable: it failed; it must not be tried again on these bytes.
    """
    try:
        os.fsync(fd)
    except OSError as exc:
        raise NotDurable(exc) from exc


class Sealer:
    """Seals landings of one store."""

    def __init__(self, root: Root, threads: Threads, durability: Durability) -> None:
        self._root = root
        self._threads = threads
        self._durability = durability
        self._staging = staging_root(root.path)

    def seal(self, landings: Sequence[Landing]) -> list[Landing | NotPlaced]:
        """As :meth:`librarian_daemon.ports.store.Store.seal`."""
        done: dict[str, Landing | NotPlaced] = {}
        try:
            with self._root.opened() as root:
                files = [landing for landing in landings if landing.unit is Unit.FILE]
                with KeptRoots() as directories:
                    for portion in _portions(files):
                        done |= {failed.landing.id: failed for failed in self._files(root, directories, portion)}
                for landing in landings:
                    if landing.unit is Unit.BOOK:
                        done[landing.id] = self._book(root, landing)
            self._durability.sealed(len(files))
        except StoreError as exc:
            return [NotPlaced(landing, exc) for landing in landings]
        return [done.get(landing.id, landing) for landing in landings]

    def _files(self, root: int, directories: KeptRoots, portion: Sequence[Landing]) -> list[NotPlaced]:
        """Seal single files, all of them open at once; the failures."""
        failed: list[NotPlaced] = []
        with ExitStack() as files:
            settled: list[tuple[Landing, int]] = []
            for landing in portion:
                try:
                    fd = _open(directories, landing)
                    files.callback(os.close, fd)
                    self._settle(landing, fd)
                except FileNotFoundError:
                    failed.append(NotPlaced(landing, missing(landing)))
                except OSError as exc:
                    error = store_error(exc, f"sealing {landing.name!a}", self._root.path)
                    failed.append(NotPlaced(landing, error))
                except SizeMismatch as exc:
                    failed.append(NotPlaced(landing, exc))
                else:
                    settled.append((landing, fd))
            if self._durability.together(root, len(settled)):
                return failed + self._sync_together(root, settled)
            for (landing, _), failure in zip(settled, self._threads.each(_try_fsync, settled), strict=True):
                if failure is not None:
                    failed.append(self._give_up(landing, failure.cause))
        return failed

    def _settle(self, landing: Landing, fd: int) -> None:
        """Compare the size of a single file, and set its mode, group and time. Raises OSError, SizeMismatch."""
        state = os.fstat(fd)
        if not stat.S_ISREG(state.st_mode) or state.st_size != landing.size_bytes:
            raise SizeMismatch(f"{landing.name!a} landed with {state.st_size} bytes, not {landing.size_bytes}")
        self._root.modes.settle_file(fd, of_file(landing), state)

    def _sync_together(self, root: int, files: Sequence[tuple[Landing, int]]) -> list[NotPlaced]:
        try:
            self._durability.syncfs(root, len(files))
        except OSError as exc:
            return [self._give_up(landing, exc) for landing, _ in files]
        failed: list[NotPlaced] = []
        for landing, fd in files:
            try:
                wait_written(fd)
            except OSError as exc:
                failed.append(self._give_up(landing, exc))
        return failed

    def _give_up(self, landing: Landing, cause: OSError) -> NotPlaced:
        """Discard staged bytes. In a drop directory they are kept: they may be the only copy."""
        if landing.root == self._staging:
            parent, name = split(os.fsencode(landing.rel))
            with suppress(OSError), directory(landing.root) as base, opened(base, parent) as fd:
                if landing.unit is Unit.BOOK:
                    shutil.rmtree(name, dir_fd=fd)
                else:
                    os.unlink(name, dir_fd=fd)
        error = store_error(cause, f"making {landing.name!a} durable", self._root.path)
        return NotPlaced(
            landing,
            StoreFault(error.message, hint="the disk may be failing: look at the kernel's log"),
        )

    def _book(self, root: int, landing: Landing) -> Landing | NotPlaced:
        """Seal a book; without its list of attributes, if that is missing or does not fit."""
        rel = os.fsencode(landing.rel)
        try:
            with landing_manifest(root, landing) as manifest, directory(landing.root) as base:
                if landing.root == self._staging:  # an empty book has no member that made its directory
                    with suppress(FileExistsError):
                        os.mkdir(rel, 0o755, dir_fd=base)
                with opened(base, rel) as book:
                    book_tree.make_empty_directories(book, manifest, landing.digest)
                    _, wrong = book_tree.compare(book, manifest, landing.digest, read_bytes=False)
                    if wrong is not None:
                        return NotPlaced(landing, wrong)
                    self._root.modes.settle_file(manifest)
                    fsync(manifest)
                    return self.sync_tree(root, landing, book)
        except NotDurable as exc:
            return self._give_up(landing, exc.cause)
        except FileNotFoundError:
            return NotPlaced(landing, missing(landing))
        except InputError as exc:  # no manifest, or an entry of another kind was made in the book meanwhile
            return NotPlaced(landing, ChecksumMismatch(exc.message, hint=exc.hint))
        except OSError as exc:
            return NotPlaced(landing, store_error(exc, f"sealing {landing.name!a}", self._root.path))

    def sync_tree(self, root: int, landing: Landing, book: int) -> Landing:
        """Modes, times and fsync for every file and directory of a book.

        Returns:
            The landing: without its list of attributes, if that is missing or does not fit.

        Raises:
            NotDurable: an fsync failed.
            BookRefused: something in it is neither a file nor a directory.
            ManifestInvalid: the manifest is not that of the book.
            OSError: something cannot be opened.
        """
        with fitting(root, landing) as kept:
            if isinstance(kept, Fitting):
                self._root.modes.settle_file(kept.fd)
                fsync(kept.fd)
                self._sync_members(book, kept.members)
                return landing
            self._sync_members(book, iter(()))
        if not kept:
            return landing
        _log.warning("attributes_ignored", name=landing.name, reason=kept)
        return msgspec.structs.replace(
            landing, list_rel="", attributes=msgspec.structs.replace(landing.attributes, list=None)
        )

    def _sync_members(self, book: int, kept: Iterator[tuple[bytes, OfMember]]) -> None:
        modes = self._root.modes
        together = self._durability.together(book, SYNCFS_FROM)  # how many they are is not known yet
        files = 0

        def sync_directory(fd: int) -> None:
            modes.settle_directory(fd)
            if not together:
                fsync(fd)

        def sync_file(entry: tuple[bytes, OfMember]) -> NotDurable | OSError | None:
            path, member = entry
            try:
                with opened(book, path, READ_FILE) as fd:
                    modes.settle_file(fd, member)
                    if not together:
                        fsync(fd)
            except (NotDurable, OSError) as exc:
                return exc
            return None

        path, member = next(kept, _END)
        portion: list[tuple[bytes, OfMember]] = []
        for found in book_tree.walk(book, each_directory=sync_directory):
            if not found.is_directory:
                while path < found.path and path:
                    path, member = next(kept, _END)
                portion.append((found.path, member if path == found.path else PLAIN))
                files += 1
            if len(portion) >= _PORTION:
                _raise_first(self._threads.each(sync_file, portion))
                portion.clear()
        _raise_first(self._threads.each(sync_file, portion))
        if together:
            try:
                self._durability.syncfs(book, files)
                for found in book_tree.walk(book):
                    if not found.is_directory:
                        with opened(book, found.path, READ_FILE) as fd:
                            wait_written(fd)
            except OSError as exc:
                raise NotDurable(exc) from exc


def _open(directories: KeptRoots, landing: Landing) -> int:
    """The file of a landing, to read; the caller closes it. Raises OSError."""
    parent, name = split(os.fsencode(landing.rel))
    return open_beneath(directories.below(landing.root).at(parent), name, READ_FILE)


def _try_fsync(file: tuple[Landing, int]) -> NotDurable | None:
    try:
        fsync(file[1])
    except NotDurable as exc:
        return exc
    return None


def _portions(files: Sequence[Landing]) -> Iterator[Sequence[Landing]]:
    size = at_once(_OPEN_AT_ONCE)
    return (files[first : first + size] for first in range(0, len(files), size))


def _raise_first(failures: Sequence[NotDurable | OSError | None]) -> None:
    for failure in failures:
        if failure is not None:
            raise failure
