"""Every kind of store that there is, and somebody who works past it. A new kind joins the suite by ``KINDS``."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tests.simulation.stores import SimDisk
from tests.simulation.world import World
from tests.support.memory_store import MemoryStore
from tests.support.memory_volume import OURS, Inode, Volume
from tests.support.stores import MAKERS, STORE_ID

from librarian_daemon.ports.store import SiteStore
from librarian_protocol.names import SiteName


class Outside(Protocol):
    """Somebody who works on what a store keeps, past the store."""

    def put(self, path: str, data: bytes) -> None:
        """A file there, whatever stood there, with the directories above it."""
        ...

    def remove(self, path: str) -> None: ...

    def read(self, path: str) -> bytes | None:
        """None where no file is."""
        ...

    def standing(self) -> dict[str, bytes]:
        """Every file that has a name, but for what the store keeps for itself."""
        ...

    def go_away(self) -> None:
        """As if its disk was not mounted."""
        ...

    def come_back(self) -> None: ...


class Kind(NamedTuple):
    """A store, and who works past it."""

    store: SiteStore
    outside: Outside
    #: Whether a directory stays when nothing stands in it any more.
    directories_stay: bool


class PosixOutside:
    """By the filesystem."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, path: str, data: bytes) -> None:
        place = self._root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.write_bytes(data)

    def remove(self, path: str) -> None:
        (self._root / path).unlink()

    def read(self, path: str) -> bytes | None:
        place = self._root / path
        return place.read_bytes() if place.is_file() else None

    def standing(self) -> dict[str, bytes]:
        files = ((place.relative_to(self._root), place) for place in self._root.rglob("*") if place.is_file())
        return {str(path): place.read_bytes() for path, place in files if path.parts[0] != OURS}

    def go_away(self) -> None:
        self._root.rename(self._root.with_name("away"))
        self._root.mkdir()

    def come_back(self) -> None:
        self._root.rmdir()
        self._root.with_name("away").rename(self._root)


class MemoryOutside:
    """By the volume."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume

    def put(self, path: str, data: bytes) -> None:
        self._volume.named[path] = Inode(data)

    def remove(self, path: str) -> None:
        del self._volume.named[path]

    def read(self, path: str) -> bytes | None:
        inode = self._volume.named.get(path)
        return None if inode is None else bytes(inode.data)

    def standing(self) -> dict[str, bytes]:
        named = self._volume.named.items()
        return {path: bytes(inode.data) for path, inode in named if not path.startswith(f"{OURS}/")}

    def go_away(self) -> None:
        self._volume.mounted = False

    def come_back(self) -> None:
        self._volume.mounted = True


def _memory(_root: Path, *, all_of_it: bool = True) -> Kind:
    volume = Volume()
    store = MemoryStore(volume, id_=STORE_ID, label="archive", keeps=all_of_it, lists=all_of_it)
    return Kind(store, MemoryOutside(volume), False)


class Still:
    """The loop of a simulation in which nothing happens."""

    now_s = 0.0
    chance = random.Random(1)

    async def pause(self, _seconds: float) -> None:
        await asyncio.sleep(0)


def _simulated(_root: Path) -> Kind:
    still: Any = Still()
    world = World(still, [SiteName("here")])
    world.faults = False
    disk = SimDisk(world, SiteName("here"))
    return Kind(disk.store, MemoryOutside(disk.volume), False)


def _posix(root: Path, name: str) -> Kind:
    made = MAKERS[name](root)
    return Kind(made, PosixOutside(root), True)


KINDS: Mapping[str, Callable[[Path], Kind]] = {
    "posix": lambda root: _posix(root, "posix"),
    "posix-syncfs": lambda root: _posix(root, "posix-syncfs"),
    "memory": _memory,
    "memory-core-only": lambda root: _memory(root, all_of_it=False),
    "simulated": _simulated,
}
