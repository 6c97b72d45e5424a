"""Making landed bytes durable where they stand, before their landing is written down. Blocking code."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Sequence
from contextlib import suppress

from librarian_daemon.ports import Landing, NotPlaced
from librarian_daemon.store import books
from librarian_daemon.store.comparing import landing_manifest, missing
from librarian_daemon.store.confined import READ_FILE, directory, opened, split, syncfs
from librarian_daemon.store.faults import store_error
from librarian_daemon.store.layout import Root, staging_root
from librarian_daemon.store.threads import Threads
from librarian_protocol.entries import Unit
from librarian_protocol.errors import ChecksumMismatch, InputError, SizeMismatch, StoreError, StoreFault

#: From so many single files on, one syncfs is cheaper than an fsync for each.
SYNCFS_FROM = 64
_PORTION = 256


class NotDurable(Exception):
    """An fsync failed: the kernel may call the same pages clean from now on, so they are worth nothing."""

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

    def __init__(self, root: Root, threads: Threads, *, file_mode: int, use_syncfs: bool) -> None:
        self._root = root
        self._threads = threads
        self._file_mode = file_mode
        self._use_syncfs = use_syncfs
        self._staging = staging_root(root.path)

    def seal(self, landings: Sequence[Landing]) -> list[Landing | NotPlaced]:
        """As :meth:`librarian_daemon.ports.Store.seal`."""
        done: dict[str, NotPlaced] = {}
        try:
            with self._root.opened() as root:
                files = [landing for landing in landings if landing.unit is Unit.FILE]
                together = self._use_syncfs and len(files) >= SYNCFS_FROM
                for failed in self._threads.each(lambda one: self._file(one, sync=not together), files):
                    if failed is not None:
                        done[failed.landing.id] = failed
                if together:
                    good = [landing for landing in files if landing.id not in done]
                    done |= {failed.landing.id: failed for failed in self._all(root, good)}
                for landing in landings:
                    if landing.unit is Unit.BOOK:
                        failed = self._book(root, landing)
                        if failed is not None:
                            done[landing.id] = failed
        except StoreError as exc:
            return [NotPlaced(landing, exc) for landing in landings]
        return [done.get(landing.id, landing) for landing in landings]

    def _file(self, landing: Landing, *, sync: bool) -> NotPlaced | None:
        try:
            with directory(landing.root) as base, opened(base, os.fsencode(landing.rel), READ_FILE) as fd:
                state = os.fstat(fd)
                if not stat.S_ISREG(state.st_mode) or state.st_size != landing.size_bytes:
                    wrong = SizeMismatch(
                        f"{landing.name!a} landed with {state.st_size} bytes, not {landing.size_bytes}"
                    )
                    return NotPlaced(landing, wrong)
                os.fchmod(fd, self._file_mode)
                if sync:
                    fsync(fd)
        except NotDurable as exc:
            return self._give_up(landing, exc.cause)
        except FileNotFoundError:
            return NotPlaced(landing, missing(landing))
        except OSError as exc:
            return NotPlaced(landing, store_error(exc, f"sealing {landing.name!a}", self._root.path))
        return None

    def _all(self, root: int, landings: Sequence[Landing]) -> list[NotPlaced]:
        try:
            syncfs(root)
        except OSError as exc:
            return [self._give_up(landing, exc) for landing in landings]
        return []

    def _give_up(self, landing: Landing, cause: OSError) -> NotPlaced:
        """Discard what is staged. In a drop directory it is kept: it may be all there is of it."""
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

    def _book(self, root: int, landing: Landing) -> NotPlaced | None:
        rel = os.fsencode(landing.rel)
        try:
            with landing_manifest(root, landing) as manifest, directory(landing.root) as base:
                if landing.root == self._staging:  # an empty book has no member that made its directory
                    with suppress(FileExistsError):
                        os.mkdir(rel, 0o755, dir_fd=base)
                with opened(base, rel) as book:
                    books.make_empty_directories(book, manifest, landing.digest)
                    _, wrong = books.compare(book, manifest, landing.digest, read_bytes=False)
                    if wrong is not None:
                        return NotPlaced(landing, wrong)
                    os.fchmod(manifest, self._file_mode)
                    fsync(manifest)
                    self.sync_tree(book)
        except NotDurable as exc:
            return self._give_up(landing, exc.cause)
        except FileNotFoundError:
            return NotPlaced(landing, missing(landing))
        except InputError as exc:  # no manifest, or something odd was made in the book meanwhile
            return NotPlaced(landing, ChecksumMismatch(exc.message, hint=exc.hint))
        except OSError as exc:
            return NotPlaced(landing, store_error(exc, f"sealing {landing.name!a}", self._root.path))
        return None

    def sync_tree(self, book: int) -> None:
        """Modes and fsync for every file and directory of a book.

        Raises:
            NotDurable: an fsync failed.
            BookRefused: something in it is neither a file nor a directory.
            OSError: something cannot be opened.
        """

        def sync_directory(fd: int) -> None:
            os.fchmod(fd, 0o755)
            if not self._use_syncfs:
                fsync(fd)

        def sync_file(path: bytes) -> NotDurable | OSError | None:
            try:
                with opened(book, path, READ_FILE) as fd:
                    os.fchmod(fd, self._file_mode)
                    if not self._use_syncfs:
                        fsync(fd)
            except (NotDurable, OSError) as exc:
                return exc
            return None

        portion: list[bytes] = []
        for found in books.walk(book, each_directory=sync_directory):
            if not found.is_directory:
                portion.append(found.path)
            if len(portion) >= _PORTION:
                _raise_first(self._threads.each(sync_file, portion))
                portion.clear()
        _raise_first(self._threads.each(sync_file, portion))
        if self._use_syncfs:
            try:
                syncfs(book)
            except OSError as exc:
                raise NotDurable(exc) from exc


def _raise_first(failures: Sequence[NotDurable | OSError | None]) -> None:
    for failure in failures:
        if failure is not None:
            raise failure
