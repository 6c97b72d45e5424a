"""The store as a directory of this host: implements :class:`librarian_daemon.ports.store_capabilities.LocalDirectory`.

Only the marker says which store a directory is. So before it is restored, the content is compared with the expected
one, by names and sizes; all through one descriptor, so that nothing else can be mounted in between.
"""

from __future__ import annotations

import asyncio
import grp
import os
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

from librarian_daemon.fs.beneath import directory, stat_beneath
from librarian_daemon.fs.os_errors import naming
from librarian_daemon.ports.store_capabilities import Expected, Marked
from librarian_daemon.stores.posix.durability import Durability
from librarian_daemon.stores.posix.layout import Root, mark, marker_at, staging_root
from librarian_daemon.stores.posix.modes import Modes
from librarian_protocol.api import DoctorCheck
from librarian_protocol.entries import Unit
from librarian_protocol.errors import NotPossible
from librarian_protocol.marking import Comparison, refusal

_EXAMPLES = 5
_SHARED = "deploy/README.md, Where others read"


class PosixDirectory:
    """The root directory of one store."""

    def __init__(self, root: Root, durability: Durability) -> None:
        self._root = root
        self._durability = durability

    @property
    def path(self) -> str:
        """Absolute."""
        return self._root.path

    async def mark(self, wanted: Sequence[Expected]) -> Marked:
        """Restore the marker, if the content looks like this store. Idempotent.

        Raises:
            NotPossible: it does not look like this store, or is marked as another one.
            StoreError: the directory cannot be read or written.
        """
        return await asyncio.to_thread(_mark, self._root, wanted)

    async def try_directory(self) -> DoctorCheck:
        """Whether a directory that is made there gets the mode and the group that the settings ask for."""
        return await asyncio.to_thread(made_directory, self._root.marker.label, self._root.path, self._root.modes)

    async def try_durability(self) -> DoctorCheck:
        """How long small files take to become durable, in both ways, and which way is used."""
        return await asyncio.to_thread(self._durability.check)


def _mark(store: Root, wanted: Sequence[Expected]) -> Marked:
    marker, path = store.marker, store.path
    with naming("marking the store", path), directory(path) as root:
        found = marker_at(root, path)
        if found is not None and found.id != marker.id:
            raise NotPossible(
                f"{path} is marked as store {found.label!r} ({found.id})",
                hint="mount the right filesystem there; a store is never marked over another",
            )
        compared, examples = _compare(root, wanted)
        why = "" if found is not None else refusal(compared)
        if why:
            raise NotPossible(
                f"{path} does not look like store {marker.label!r}: {why}"
                + (f"; for one: {examples[0]}" if examples else ""),
                hint="is the right filesystem mounted there? Nothing was changed",
            )
        if found is None:
            mark(root, marker)
    return Marked(was_marked=found is not None, compared=compared, examples=examples)


def _compare(root: int, wanted: Sequence[Expected]) -> tuple[Comparison, list[str]]:
    missing, wrong, examples = 0, 0, list[str]()
    for expected in wanted:
        try:
            state = stat_beneath(root, os.fsencode(expected.name))
        except (FileNotFoundError, NotADirectoryError):
            missing += 1
            why = "is missing"
        else:
            if expected.unit is Unit.BOOK:
                why = "" if stat.S_ISDIR(state.st_mode) else "is no directory"
            elif stat.S_ISREG(state.st_mode):
                same = state.st_size == expected.size_bytes
                why = "" if same else f"has {state.st_size} bytes, not {expected.size_bytes}"
            else:
                why = "is no file"
            wrong += bool(why)
        if why and len(examples) < _EXAMPLES:
            examples.append(f"{expected.name!a} {why}")
    return Comparison(looked=len(wanted), missing=missing, wrong=wrong), examples


def made_directory(label: str, root: str, modes: Modes) -> DoctorCheck:
    """Whether directories get the mode and the group that the store's settings ask for: one is made, and removed."""
    name = f"directories of store {label}"
    try:
        with tempfile.TemporaryDirectory(dir=staging_root(root), prefix="doctor-") as made:
            os.chmod(made, 0o755 & ~_umask())
            with directory(made) as fd:
                modes.settle_above(fd)
                state = os.fstat(fd)
    except OSError as exc:
        hint = f"is its user a member of the group? {_SHARED}" if modes.group is not None else "is the disk full?"
        return _said(name, "error", f"none can be made with the right mode: {exc.strerror}", hint)
    mode = stat.S_IMODE(state.st_mode)
    if modes.directory is not None and mode != modes.directory:
        return _said(name, "error", f"they get mode {mode:04o}, not {modes.directory:04o}", _SHARED)
    if mode & 0o055:
        return _said(name, "ok", f"mode {mode:04o}, group {_group_name(state.st_gid)}")
    return _said(name, "ok", f"mode {mode:04o}: nobody else reads the store; dir_mode and group in [[store]] allow it")


def _umask() -> int:
    """The umask of this process, read without changing it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    return 0


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _said(name: str, level: str, message: str, hint: str = "") -> DoctorCheck:
    return DoctorCheck(check=name, level=level, message=message, hint=hint)
