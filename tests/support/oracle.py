"""What must stand in a store, computed from what was dropped and by nothing of the daemon's."""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Mapping
from pathlib import Path

from blake3 import blake3

Members = Mapping[str, bytes | None]


def some_bytes(size: int, seed: object = 0) -> bytes:
    """The same bytes for the same seed."""
    return random.Random(repr((size, seed))).randbytes(size)


def digest_of(data: bytes) -> str:
    """Of a single file."""
    return f"blake3:{blake3(data).hexdigest()}"


def manifest_of(members: Members) -> bytes:
    """A book's manifest; a member of None is an empty directory."""
    lines = [
        (path.encode(), b"D " if data is None else b"F %d %s " % (len(data), blake3(data).hexdigest().encode()))
        for path, data in members.items()
    ]
    return b"librarian-manifest 1\n" + b"".join(head + path + b"\n" for path, head in sorted(lines))


def digest_of_book(members: Members) -> str:
    """Of a book: its manifest's."""
    return digest_of(manifest_of(members))


def in_book(name: str, members: Members) -> dict[str, str]:
    """What :func:`standing` must find of a book."""
    return {f"{name}/{path}": "empty" if data is None else digest_of(data) for path, data in members.items()}


def kept(store: Path) -> dict[str, tuple[int, int]]:
    """When each file below a store was modified, in ns, and its mode; but for what the store keeps for itself."""
    found: dict[str, tuple[int, int]] = {}
    for path in store.rglob("*"):
        name = path.relative_to(store)
        if path.is_file() and name.parts[0] != ".librarian":
            state = path.stat()
            found[str(name)] = state.st_mtime_ns, stat.S_IMODE(state.st_mode)
    return found


def standing(store: Path) -> dict[str, str]:
    """Every file below a store by its name, and every empty directory, but for what the store keeps for itself."""
    found: dict[str, str] = {}
    for directory, below, files in os.walk(store):
        if directory == str(store):
            below.remove(".librarian")
        where = os.path.relpath(directory, store)
        for name in files:
            path = Path(directory, name)
            assert not path.is_symlink()
            found[os.path.normpath(os.path.join(where, name))] = digest_of(path.read_bytes())
        if not files and not below and where != ".":
            found[where] = "empty"
    return found
