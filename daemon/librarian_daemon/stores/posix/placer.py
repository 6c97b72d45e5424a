"""Brings sealed bytes to their names, and finishes what a crash interrupted. Blocking code.

A rename never overwrites, and both directories are durable before the file is registered
(docs/architecture.md, the commit protocol).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import suppress

from librarian_adapters.beneath import READ_FILE
from librarian_daemon.fs import beneath
from librarian_daemon.fs.beneath import directory, fsync_beneath, make_directories, opened, split, stat_beneath
from librarian_daemon.fs.hashing import hash_fd
from librarian_daemon.fs.kept import Kept, KeptRoots, move
from librarian_daemon.fs.os_errors import store_error
from librarian_daemon.fs.threads import Threads
from librarian_daemon.ports.store import Action, Landing, NotPlaced, Placed
from librarian_daemon.stores.posix.away import exchange_bad, keep_bad, set_bad_aside
from librarian_daemon.stores.posix.landing_check import compare, exists, listed, missing
from librarian_daemon.stores.posix.layout import (
    ATTRIBUTES,
    MANIFESTS,
    STAGING,
    Root,
    list_path,
    manifest_path,
    staging_root,
)
from librarian_daemon.stores.posix.lists import of_file
from librarian_daemon.stores.posix.sealer import NotDurable, Sealer, fsync
from librarian_daemon.stores.posix.staging import remove
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Unit
from librarian_protocol.errors import CaseTwin, InputError, LibrarianError, NameOccupied, StoreError, StoreFault

#: Directories that are remembered as durable.
_REMEMBERED = 65_536
#: A directory whose entries changed: a root, and a path below it.
_Touched = tuple[str, bytes]
#: Device and inode.
_Inode = tuple[int, int]


class _Batch:
    """What one call of :meth:`Placer.place` keeps."""

    def __init__(self, root: int, named: Kept, sources: KeptRoots) -> None:
        self.root = root
        #: Directories above names, and those that bytes leave.
        self.named = named
        self.sources = sources
        #: Directories that were renamed into.
        self.entered: dict[_Touched, _Inode] = {}
        #: At whose names the right bytes stand already; something of them may be in staging still.
        self.redundant: list[Landing] = []


class Placer:
    """Places and recovers landings of one store."""

    def __init__(self, root: Root, threads: Threads, sealer: Sealer) -> None:
        self._root = root
        self._threads = threads
        self._sealer = sealer
        self._staging = staging_root(root.path)
        self._durable: set[bytes] = set()
        #: Whether names that differ only in letter case are one file; set when the store is opened.
        self.case_insensitive = False

    def place(self, landings: Sequence[Landing]) -> list[Placed | NotPlaced]:
        """As :meth:`librarian_daemon.ports.store.Store.place`."""
        failed: dict[str, LibrarianError] = {}
        changed: dict[_Touched, list[str]] = {}
        try:
            with self._root.opened() as root, Kept(root) as named, KeptRoots() as sources:
                batch = _Batch(root, named, sources)
                for landing in landings:
                    touched: list[_Touched] = []
                    wrong = self._place(batch, landing, touched)
                    if wrong is not None:
                        failed[landing.id] = wrong
                    for where in touched:
                        changed.setdefault(where, []).append(landing.id)
                fsyncs = self._threads.each(lambda where: _fsync_directory(where, batch.entered.get(where)), changed)
                for where, exc in zip(changed, fsyncs, strict=True):
                    if exc is not None:
                        error = store_error(exc, "making a rename durable", self._root.path)
                        failed |= dict.fromkeys(changed[where], error)
                # Only now: what stands at the name may have been no more durable than its directory.
                self._discard([landing for landing in batch.redundant if landing.id not in failed])
        except StoreError as exc:
            return [NotPlaced(landing, exc) for landing in landings]
        return [
            NotPlaced(landing, failed[landing.id]) if landing.id in failed else Placed(landing) for landing in landings
        ]

    def _discard(self, redundant: Sequence[Landing]) -> None:
        """Remove staged bytes. A drop directory is not staging; what cannot be removed is, by the next start."""
        for landing in redundant:
            if landing.root == self._staging:
                with suppress(OSError), directory(self._staging) as staging:
                    remove(staging, os.fsencode(landing.rel))

    def _place(self, batch: _Batch, landing: Landing, touched: list[_Touched]) -> LibrarianError | None:
        """Rename one landing; ``touched`` gets the directories to fsync afterwards. None: it is at its name."""
        root, named = batch.root, batch.named
        name = os.fsencode(landing.name)
        rel = os.fsencode(landing.rel)
        parent = split(name)[0]
        try:
            if parent not in named:
                wrong = self._make_parent(root, landing, parent)
                if wrong is not None:
                    return wrong
            if landing.manifest_rel:
                self._place_manifest(root, landing, touched)
            self._place_list(root, landing, touched)
            source = batch.sources.below(landing.root)
            try:
                move(source, rel, named, name)
            except (FileExistsError, FileNotFoundError):
                base = source.base
                wrong = self._already(root, base, landing)
                if landing.action is Action.HEAL and isinstance(wrong, NameOccupied) and exists(base, rel):
                    exchange_bad(base, rel, root, name, landing.digest)
                    touched += [(self._root.path, parent), (landing.root, split(rel)[0])]
                    return None
                if wrong is not None:
                    return wrong
                batch.redundant.append(landing)
            else:
                touched.append((landing.root, split(rel)[0]))
                if (self._root.path, parent) not in batch.entered:
                    batch.entered[(self._root.path, parent)] = _inode(named.at(parent))
            touched.append((self._root.path, parent))
        except NotDurable as exc:
            return store_error(exc.cause, f"making {landing.name!a} durable", self._root.path)
        except InputError as exc:
            return _changing(landing, exc)
        except FileNotFoundError:
            return missing(landing)
        except OSError as exc:
            return store_error(exc, f"storing {landing.name!a}", self._root.path)
        return None

    def _make_parent(self, root: int, landing: Landing, parent: bytes) -> LibrarianError | None:
        if len(self._durable) > _REMEMBERED:
            self._durable.clear()
        try:
            make_directories(root, parent, durable=self._durable, settle=self._root.modes.above)
        except OSError as exc:
            if exc.errno not in {errno.ENOTDIR, errno.ELOOP}:
                raise
            return NameOccupied(
                f"{landing.name!a} cannot be stored: a part of its path is not a directory",
                hint="another file has that part as its name; choose another name",
            )
        return None

    def _place_manifest(self, root: int, landing: Landing, touched: list[_Touched]) -> None:
        final = manifest_path(landing.digest)
        staged = os.fsencode(landing.manifest_rel)
        with opened(root, STAGING) as staging:
            try:
                beneath.move(staging, staged, root, final)
            except FileExistsError:  # from an equal book, or from this one before a crash: its name is its digest
                if landing.action is Action.HEAL and not _is_manifest(root, final, landing.digest):
                    set_bad_aside(root, final, landing.digest)
                    beneath.move(staging, staged, root, final)
                else:
                    with suppress(FileNotFoundError):
                        os.unlink(staged, dir_fd=staging)
            except FileNotFoundError:
                stat_beneath(root, final)
        touched.append((self._root.path, MANIFESTS))
        touched.append((self._staging, b""))

    def _place_list(self, root: int, landing: Landing, touched: list[_Touched]) -> None:
        """Place the list of a book's attributes; if it has vanished, the book has none."""
        if not landing.list_rel or landing.attributes.list is None:
            return  # there is none, or it is in its place already
        staged = os.fsencode(landing.list_rel)
        with opened(root, STAGING) as staging, suppress(FileNotFoundError):
            try:
                beneath.move(staging, staged, root, list_path(landing.attributes.list))
            except FileExistsError:  # its name is its digest
                os.unlink(staged, dir_fd=staging)
        touched.append((self._root.path, ATTRIBUTES))
        touched.append((self._staging, b""))

    def _already(self, root: int, base: int, landing: Landing) -> LibrarianError | None:
        """The rename found its name taken, or nothing to rename. None: the right bytes are at the name."""
        name = os.fsencode(landing.name)
        source_is_there = exists(base, os.fsencode(landing.rel))
        if not exists(root, name):
            if source_is_there:
                return StoreFault(f"directories above {landing.name!a} vanished meanwhile", hint="it is retried")
            return missing(landing)
        if self.case_insensitive and not listed(root, name):
            return CaseTwin(
                f"{landing.name!a} differs only in letter case from a file that is already here",
                hint="this filesystem cannot distinguish them; choose another name or another store",
            )
        # If the source is gone, the file there is the sealed source: the size suffices. Otherwise compare every byte.
        wrong = compare(root, root, name, landing, read_bytes=source_is_there)
        if wrong is not None:
            return NameOccupied(
                f"something else stands at {landing.name!a} in the store: {wrong.message}",
                hint="look at what is there; nothing was overwritten",
            )
        if source_is_there:
            self._make_durable(root, name, landing)
        return None

    def _make_durable(self, root: int, name: bytes, landing: Landing) -> Landing:
        """Make a book durable that somebody else may have put there. As :meth:`Sealer.sync_tree`."""
        if landing.unit is Unit.BOOK:
            with opened(root, name) as book:
                return self._sealer.sync_tree(root, landing, book)
        with opened(root, name, READ_FILE) as fd:
            self._root.modes.settle_file(fd, of_file(landing))
            fsync(fd)
        return landing

    def recover(self, landing: Landing) -> Placed | NotPlaced:
        """As :meth:`librarian_daemon.ports.store.Store.recover`: trust nothing but bytes that are read again now."""
        name = os.fsencode(landing.name)
        rel = os.fsencode(landing.rel)
        try:
            with self._root.opened() as root, directory(landing.root) as base:
                if exists(root, name):
                    if landing.action is not Action.HEAL or not exists(base, rel):
                        return self._recover_placed(root, landing)
                    # They may have changed places already. If bad bytes still have the name, placing replaces them.
                    if compare(root, root, name, landing, read_bytes=True) is None:
                        placed = self._recover_placed(root, landing)
                        keep_bad(base, rel, root, landing.digest)
                        return placed
                if not exists(base, rel):
                    return NotPlaced(landing, missing(landing))
                wrong = compare(root, base, rel, landing, read_bytes=True)
        except StoreError as exc:
            return NotPlaced(landing, exc)
        except InputError as exc:
            return NotPlaced(landing, _changing(landing, exc))
        except NotDurable as exc:
            return NotPlaced(landing, store_error(exc.cause, f"recovering {landing.name!a}", self._root.path))
        except FileNotFoundError:
            return NotPlaced(landing, missing(landing))
        except OSError as exc:
            return NotPlaced(landing, store_error(exc, f"recovering {landing.name!a}", self._root.path))
        if wrong is not None:
            return NotPlaced(landing, wrong)
        sealed = self._sealer.seal([landing])[0]
        return sealed if isinstance(sealed, NotPlaced) else self.place([sealed])[0]

    def _recover_placed(self, root: int, landing: Landing) -> Placed | NotPlaced:
        """Something is at the name; the crash may have come before it was durable there."""
        name = os.fsencode(landing.name)
        wrong = compare(root, root, name, landing, read_bytes=True)
        if wrong is not None:
            return NotPlaced(landing, NameOccupied(f"{landing.name!a} is taken: {wrong.message}"))
        landing = self._make_durable(root, name, landing)
        touched: list[_Touched] = [(self._root.path, split(name)[0])]
        self._make_parent(root, landing, split(name)[0])
        if landing.manifest_rel:
            self._place_manifest(root, landing, touched)
        self._place_list(root, landing, touched)
        touched.append((landing.root, split(os.fsencode(landing.rel))[0]))
        for where in touched:
            failure = _fsync_directory(where)
            if failure is not None and not isinstance(failure, FileNotFoundError):
                raise failure
        return Placed(landing)


def _is_manifest(root: int, path: bytes, digest: Digest) -> bool:
    """Whether the file is the manifest of that digest, every byte."""
    with opened(root, path, READ_FILE) as fd:
        return hash_fd(fd)[1] == digest


def _changing(landing: Landing, wrong: InputError) -> NameOccupied:
    """The bytes at the name were right just now, and somebody is changing them."""
    return NameOccupied(
        f"what stands at {landing.name!a} in the store changes while it is read: {wrong.message}",
        hint="look at what is there; nothing was overwritten",
    )


def _inode(fd: int) -> _Inode:
    state = os.fstat(fd)
    return state.st_dev, state.st_ino


def _fsync_directory(where: _Touched, entered: _Inode | None = None) -> OSError | None:
    """``entered`` is the directory that was renamed into: somebody may have moved it away since."""
    root, path = where
    try:
        with directory(root) as fd:
            if entered is not None:
                with opened(fd, path) as here:
                    if _inode(here) != entered:
                        return OSError(errno.ESTALE, "another directory stands there now")
            fsync_beneath(fd, path)
    except OSError as exc:
        return exc
    return None
