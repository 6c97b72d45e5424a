"""Bringing sealed bytes to their names, and finishing what a crash interrupted. Blocking code.

A rename never overwrites, and both directories are durable before anybody says that the file is there
(docs/architecture.md, the commit protocol).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import suppress

from librarian_daemon.ports import Landing, NotPlaced, Placed
from librarian_daemon.store.comparing import compare, exists, listed, missing
from librarian_daemon.store.confined import (
    READ_FILE,
    directory,
    fsync_beneath,
    make_directories,
    move,
    opened,
    split,
    stat_beneath,
)
from librarian_daemon.store.faults import store_error
from librarian_daemon.store.layout import MANIFESTS, STAGING, Root, manifest_path, staging_root
from librarian_daemon.store.sealing import NotDurable, Sealer, fsync
from librarian_daemon.store.threads import Threads
from librarian_protocol.entries import Unit
from librarian_protocol.errors import CaseTwin, InputError, LibrarianError, NameOccupied, StoreError, StoreFault

#: Directories that are remembered as durable.
_REMEMBERED = 65_536
#: A directory whose entries changed: a root, and a path below it.
_Touched = tuple[str, bytes]


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
        """As :meth:`librarian_daemon.ports.Store.place`."""
        failed: dict[str, LibrarianError] = {}
        changed: dict[_Touched, list[str]] = {}
        try:
            with self._root.opened() as root:
                for landing in landings:
                    touched: list[_Touched] = []
                    wrong = self._place(root, landing, touched)
                    if wrong is not None:
                        failed[landing.id] = wrong
                    for where in touched:
                        changed.setdefault(where, []).append(landing.id)
                for where, exc in zip(changed, self._threads.each(_fsync_directory, changed), strict=True):
                    if exc is not None:
                        error = store_error(exc, "making a rename durable", self._root.path)
                        failed |= dict.fromkeys(changed[where], error)
        except StoreError as exc:
            return [NotPlaced(landing, exc) for landing in landings]
        return [
            NotPlaced(landing, failed[landing.id]) if landing.id in failed else Placed(landing) for landing in landings
        ]

    def _place(self, root: int, landing: Landing, touched: list[_Touched]) -> LibrarianError | None:
        """Rename one; ``touched`` gets what must be fsynced afterwards. None: it stands at its name."""
        name = os.fsencode(landing.name)
        rel = os.fsencode(landing.rel)
        parent = split(name)[0]
        try:
            wrong = self._make_parent(root, landing, parent)
            if wrong is not None:
                return wrong
            if landing.manifest_rel:
                self._place_manifest(root, landing, touched)
            with directory(landing.root) as base:
                try:
                    move(base, rel, root, name)
                except (FileExistsError, FileNotFoundError):
                    wrong = self._already(root, base, landing)
                    if wrong is not None:
                        return wrong
                else:
                    touched.append((landing.root, split(rel)[0]))
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
            make_directories(root, parent, durable=self._durable)
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
                move(staging, staged, root, final)
            except FileExistsError:  # an equal book's, or this one's before a crash: its name is its content
                with suppress(FileNotFoundError):
                    os.unlink(staged, dir_fd=staging)
            except FileNotFoundError:
                stat_beneath(root, final)
        touched.append((self._root.path, MANIFESTS))
        touched.append((self._staging, b""))

    def _already(self, root: int, base: int, landing: Landing) -> LibrarianError | None:
        """The rename found its name taken, or nothing to rename. None: the right bytes stand at the name."""
        name = os.fsencode(landing.name)
        source_is_there = exists(base, os.fsencode(landing.rel))
        if not exists(root, name):
            if source_is_there:
                return StoreFault(f"directories above {landing.name!a} vanished meanwhile", hint="it is retried")
            return missing(landing)
        if self.case_insensitive and not listed(root, name):
            return CaseTwin(
                f"{landing.name!a} differs only in letter case from a file that stands here already",
                hint="this filesystem cannot tell them apart; choose another name or another store",
            )
        # Where the source is gone, what stands there is it, sealed before: size tells. Else every byte must.
        wrong = compare(root, root, name, landing, read_bytes=source_is_there)
        if wrong is not None:
            return NameOccupied(
                f"something else stands at {landing.name!a} in the store: {wrong.message}",
                hint="look at what stands there; nothing was overwritten",
            )
        if source_is_there:
            self._make_durable(root, name, landing.unit)
        return None

    def _make_durable(self, root: int, name: bytes, unit: Unit) -> None:
        """What stands there was perhaps put there by somebody who did not care."""
        if unit is Unit.BOOK:
            with opened(root, name) as book:
                self._sealer.sync_tree(book)
        else:
            with opened(root, name, READ_FILE) as fd:
                fsync(fd)

    def recover(self, landing: Landing) -> Placed | NotPlaced:
        """As :meth:`librarian_daemon.ports.Store.recover`: trust nothing but bytes that are read again now."""
        name = os.fsencode(landing.name)
        rel = os.fsencode(landing.rel)
        try:
            with self._root.opened() as root:
                if exists(root, name):
                    return self._recover_placed(root, landing)
                with directory(landing.root) as base:
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
        """Something stands at the name; the crash may have come before it was durable there."""
        name = os.fsencode(landing.name)
        wrong = compare(root, root, name, landing, read_bytes=True)
        if wrong is not None:
            return NotPlaced(landing, NameOccupied(f"{landing.name!a} is taken: {wrong.message}"))
        self._make_durable(root, name, landing.unit)
        touched: list[_Touched] = [(self._root.path, split(name)[0])]
        self._make_parent(root, landing, split(name)[0])
        if landing.manifest_rel:
            self._place_manifest(root, landing, touched)
        touched.append((landing.root, split(os.fsencode(landing.rel))[0]))
        for where in touched:
            failure = _fsync_directory(where)
            if failure is not None and not isinstance(failure, FileNotFoundError):
                raise failure
        return Placed(landing)


def _changing(landing: Landing, wrong: InputError) -> NameOccupied:
    """What stands at the name was right a moment ago, and somebody works on it."""
    return NameOccupied(
        f"what stands at {landing.name!a} in the store changes while it is looked at: {wrong.message}",
        hint="look at what stands there; nothing was overwritten",
    )


def _fsync_directory(where: _Touched) -> OSError | None:
    root, path = where
    try:
        with directory(root) as fd:
            fsync_beneath(fd, path)
    except OSError as exc:
        return exc
    return None
