"""Simulated stores: single files in memory that outlives daemons; a power cut takes what was not made durable."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

from blake3 import blake3
from tests.simulation.world import World

from librarian_adapters.contract import Buffer, Item, Staging
from librarian_adapters.memory import read_back_each
from librarian_daemon.ports import (
    Check,
    Landing,
    NotPlaced,
    Placed,
    Space,
)
from librarian_daemon.store.looking import Standing
from librarian_protocol.digests import Digest
from librarian_protocol.entries import StoreRole, Unit
from librarian_protocol.errors import (
    ChecksumMismatch,
    LibrarianError,
    NameOccupied,
    SizeMismatch,
    SourceMissing,
    StoreError,
    StoreFault,
    StoreFull,
)
from librarian_protocol.manifest import Member
from librarian_protocol.names import MemberPath, Name, SiteName


class Bytes:
    """An inode: what was written, and what of it a power cut leaves."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.synced: bytes | None = None


class SimStore:
    """Implements the ``Store`` port: single files; memory that outlives daemons; power cuts take what is not sealed."""

    role = StoreRole.ARCHIVE

    def __init__(self, world: World, site: SiteName) -> None:
        self.world = world
        self.site = site
        self.id = blake3(str(site).encode()).hexdigest()[:32]
        self.label = "main"
        self.root = f"/sim/{site}"
        self.in_staging: dict[str, Bytes] = {}
        self.named: dict[str, Bytes] = {}
        self.head = ""
        self.full = False

    @property
    def staging(self) -> Staging:
        both: Any = self
        return cast("Staging", both)

    @property
    def staging_root(self) -> str:
        return f"{self.root}/.librarian/staging"

    def lose_power(self) -> None:
        """What was not made durable is torn, empty or gone."""
        for key in sorted(self.in_staging):
            inode = self.in_staging[key]
            if inode.synced is None:
                fate = self.world.chance.random()
                if fate < 0.4:
                    del self.in_staging[key]
                else:
                    del inode.data[int(len(inode.data) * self.world.chance.random()) if fate < 0.7 else 0 :]

    def holds(self, name: str) -> bytes | None:
        inode = self.named.get(name)
        return None if inode is None else bytes(inode.data)

    # ---- staging ----

    async def create(self, item: Item, *, resume: bool = False) -> SimSink:
        await self.world.gate(self.site, "stage", item.key)
        self.maybe_fail()
        if not resume or item.key not in self.in_staging or len(self.in_staging[item.key].data) > item.size_bytes:
            self.in_staging[item.key] = Bytes()
        return SimSink(self, self.in_staging[item.key], item.key)

    async def put(self, items: Sequence[tuple[Item, Buffer]]) -> None:
        for item, data in items:
            await self.world.gate(self.site, "stage", item.key)
            self.maybe_fail()
            self.in_staging[item.key] = Bytes(bytes(data))

    def maybe_fail(self) -> None:
        if self.full and self.world.faults:
            raise StoreFull("no space left")
        if self.world.unlucky(0.005):
            self.world.counts["store error"] += 1
            raise StoreFault("an I/O error")

    async def read_back(self, item: Item) -> tuple[int, Digest]:
        inode = self.in_staging.get(item.key)
        if inode is None:
            raise StoreFault(f"nothing is staged for {item.key}")
        return len(inode.data), Digest.blake3(bytes(inode.data))

    async def read_back_many(self, items: Sequence[Item]) -> Sequence[tuple[int, Digest] | StoreError]:
        await self.world.gate(self.site, "read-back")
        return await read_back_each(self.read_back, items)

    async def scratch(self, name: str) -> Any:
        raise StoreFault("no program writes here")

    async def discard(self, item_or_keys: Any) -> None:
        keys = [item_or_keys.key] if isinstance(item_or_keys, Item) else item_or_keys
        for key in keys:
            self.in_staging.pop(key, None)

    # ---- the commit protocol ----

    async def open(self) -> None:
        """It is there."""

    async def seal(self, landings: Sequence[Landing]) -> Sequence[Landing | NotPlaced]:
        done: list[Landing | NotPlaced] = []
        for landing in landings:
            await self.world.gate(self.site, "seal", landing.name)
            inode = self.in_staging.get(landing.rel)
            if inode is None or len(inode.data) != landing.size_bytes:
                done.append(NotPlaced(landing, SourceMissing("it is not staged")))
                continue
            if self.world.unlucky(0.005):
                self.world.counts["fsync failed"] += 1
                del self.in_staging[landing.rel]
                done.append(NotPlaced(landing, StoreFault("fsync failed")))
                continue
            inode.synced = bytes(inode.data)
            done.append(landing)
        return done

    async def place(self, landings: Sequence[Landing]) -> Sequence[Placed | NotPlaced]:
        return [await self._place(landing) for landing in landings]

    async def _place(self, landing: Landing) -> Placed | NotPlaced:
        await self.world.gate(self.site, "place", landing.name)
        standing, staged = self.named.get(landing.name), self.in_staging.get(landing.rel)
        if standing is not None:
            if Digest.blake3(bytes(standing.data)) != landing.digest:
                return NotPlaced(landing, NameOccupied(f"{landing.name} holds other bytes"))
            self.in_staging.pop(landing.rel, None)
            return Placed(landing)
        if staged is None:
            return NotPlaced(landing, SourceMissing("it is neither staged nor at its name"))
        if staged.synced != bytes(staged.data):
            self.world.violated(f"I1: {self.site} gives {landing.name} a name before its bytes are durable")
        self.named[landing.name] = self.in_staging.pop(landing.rel)
        await self.world.gate(self.site, "placed", landing.name)
        return Placed(landing)

    async def recover(self, landing: Landing) -> Placed | NotPlaced:
        await self.world.gate(self.site, "recover", landing.name)
        for there in (self.named.get(landing.name), self.in_staging.get(landing.rel)):
            if there is not None and Digest.blake3(bytes(there.data)) == landing.digest:
                there.synced = bytes(there.data)
                return await self._place(landing)
        return NotPlaced(landing, ChecksumMismatch("its bytes are not here"))

    async def check(self, name: Name, digest: Digest, unit: Unit, size_bytes: int) -> Check:
        await self.world.gate(self.site, "check", name)
        data = self.holds(name)
        if data is None:
            return Check(size_bytes=0, digest=None, error=SourceMissing(f"{name} is not in the store"))
        found = Digest.blake3(data)
        error = None if found == digest else ChecksumMismatch(f"{name} has other bytes")
        return Check(size_bytes=len(data), digest=found, error=error)

    async def open_part(self, name: Name, digest: Digest, part: str, member: MemberPath | None) -> Any:
        raise StoreFault("the simulation reads otherwise")

    def manifest(self, digest: Digest) -> AsyncIterator[Sequence[Member]]:
        raise StoreFault("there are no books here")

    def staged_manifest(self, key: str, digest: Digest) -> AsyncIterator[Sequence[Member]]:
        raise StoreFault("there are no books here")

    # ---- looking ----

    async def look(self, wanted: Sequence[Landing]) -> list[LibrarianError | None]:
        await self.world.gate(self.site, "look")
        return [self._look(one) for one in wanted]

    def _look(self, wanted: Landing) -> LibrarianError | None:
        data = self.holds(wanted.name)
        if data is None:
            return SourceMissing(f"nothing stands at {wanted.name}")
        return None if len(data) == wanted.size_bytes else SizeMismatch(f"{wanted.name} has {len(data)} bytes")

    async def entries(self, directory: bytes) -> AsyncIterator[Sequence[Standing]]:
        """One page: names have one directory here."""
        await self.world.gate(self.site, "list", directory.decode())
        below = f"{directory.decode()}/" if directory else ""
        names = [name for name in sorted(self.named) if name.startswith(below)]
        children = sorted({name[len(below) :].partition("/")[0] for name in names})
        paths = [below + child for child in children]
        yield [
            Standing(
                path=path.encode(),
                directory=path not in self.named,
                other=False,
                size_bytes=len(self.holds(path) or b""),
            )
            for path in paths
        ]

    async def books(self) -> Any:
        return None

    async def book_candidates(self, _finder: Any, _directory: bytes) -> Sequence[Any]:
        return []

    async def space(self) -> Space:
        return Space(total_bytes=1 << 40, free_bytes=0 if self.full else 1 << 39, total_inodes=1, free_inodes=1)

    async def has_staged(self, key: str) -> bool:
        return key in self.in_staging

    async def staged(self) -> frozenset[str]:
        return frozenset(self.in_staging)

    async def read_head(self) -> str:
        return self.head

    async def write_head(self, text: str) -> None:
        await self.world.gate(self.site, "head")
        self.head = text

    def close(self) -> None:
        """Nothing is open."""


class SimSink:
    """Appends."""

    def __init__(self, store: SimStore, inode: Bytes, key: str) -> None:
        self._store = store
        self._inode = inode
        self._key = key
        self.offset = len(inode.data)

    async def write(self, data: Buffer) -> None:
        await self._store.world.gate(self._store.site, "write", self._key)
        self._store.maybe_fail()
        self._inode.data += data

    def fileno(self) -> int | None:
        return None

    async def close(self) -> None:
        """Nothing is kept."""
