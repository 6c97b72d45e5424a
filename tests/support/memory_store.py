"""A store in memory: implements :class:`librarian_daemon.ports.store.SiteStore`, and is no directory of this host.

It is what the simulator runs sites on, and shows that services need no filesystem. ``at`` is awaited at every step at
which a real one takes time: a simulation lets time pass there, raises a ``StoreError``, or kills the site.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from itertools import islice

from tests.support.memory_keeping import MemoryKeeping, MemoryListing, set_bad_aside
from tests.support.memory_staging import MemoryStaging
from tests.support.memory_trash import MemoryTrash, Told, nobody
from tests.support.memory_volume import Volume, members
from tests.support.parts import read_each

from librarian_adapters.contract import Part
from librarian_daemon.fs.book_tree import Extra
from librarian_daemon.ports.names_lock import NamesLock
from librarian_daemon.ports.store import (
    Action,
    Check,
    Landing,
    Looked,
    NotPlaced,
    PartRead,
    Placed,
    Space,
    WantedPart,
)
from librarian_daemon.ports.store_capabilities import Capabilities, Expected
from librarian_protocol.digests import Digest
from librarian_protocol.entries import StoreRole, Unit
from librarian_protocol.errors import (
    ChecksumMismatch,
    NameOccupied,
    SizeMismatch,
    SourceMissing,
    StoreError,
    StoreFault,
    StoreFull,
    StoreNotMounted,
)
from librarian_protocol.manifest import Member, MemberFile
from librarian_protocol.names import MemberPath, Name

PAGE_MEMBERS = 1000
#: A step of the store's work, and what it is about.
At = Callable[[str, str], Awaitable[None]]


async def at_once(_step: str, _what: str) -> None:
    """Nothing takes time, and nothing fails."""


def unsealed(landing: Landing) -> None:
    """Bytes get a name that were not made durable: whoever asks for that is wrong."""
    raise AssertionError(f"{landing.name} gets its name before its bytes are durable")


class MemoryReader:
    """Implements :class:`librarian_daemon.ports.store.Reader`, without a descriptor."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size_bytes = len(data)

    async def read(self, begin: int, size_bytes: int) -> bytes:
        return self._data[begin : begin + size_bytes]

    def fileno(self) -> int | None:
        return None

    def close(self) -> None:
        """Nothing is open."""


class MemoryStore:
    """Names are keys in a flat space. Bytes come by staging only."""

    role = StoreRole.ARCHIVE

    def __init__(
        self,
        volume: Volume,
        *,
        id_: str,
        label: str,
        at: At = at_once,
        unsealed: Callable[[Landing], None] = unsealed,
        keeps: bool = True,
        lists: bool = True,
        told: Told = nobody,
        reads: Callable[[], None] = lambda: None,
    ) -> None:
        """``keeps`` and ``lists``: whether it can what a store need not be able to do.

        ``told``: of its trash. ``reads`` is called before anything is read.
        """
        self.id = id_
        self.label = label
        self.location = f"memory:{label}"
        self.volume = volume
        self.names = NamesLock()
        self._told = told
        self._at = at
        self._unsealed = unsealed
        self._reads = reads
        self._withheld = ""
        self._staging = MemoryStaging(self._answer, at)
        self._can = Capabilities(
            keeping=MemoryKeeping(self._answer) if keeps else None,
            listing=MemoryListing(self._answer, at) if lists else None,
            trash=MemoryTrash(self._answer, at, told) if keeps else None,
        )

    def _answer(self) -> Volume:
        """Raises StoreNotMounted: it is away, or withheld."""
        why = "it is away" if not self.volume.mounted else self._withheld
        if why:
            raise StoreNotMounted(f"store {self.label!r} is not mounted: {why}")
        return self.volume

    @property
    def can(self) -> Capabilities:
        return self._can

    @property
    def staging(self) -> MemoryStaging:
        return self._staging

    @property
    def staging_root(self) -> str:
        return f"{self.location}/staging"

    # ---- from its opening to its end ----

    async def open(self) -> None:
        self._answer()

    def close(self) -> None:
        """Nothing is open."""

    @property
    def withheld(self) -> bool:
        return bool(self._withheld)

    def withhold(self, why: str) -> None:
        self._withheld = why

    async def admit(self) -> None:
        why, self._withheld = self._withheld, ""
        try:
            await self.open()
        except StoreError:
            self._withheld = why
            raise

    def twin(self) -> MemoryStore:
        can = self._can
        return MemoryStore(
            self.volume,
            id_=self.id,
            label=self.label,
            at=self._at,
            unsealed=self._unsealed,
            reads=self._reads,
            keeps=can.keeping is not None,
            lists=can.listing is not None,
            told=self._told,
        )

    def probe(self) -> Space:
        if self._answer().full:
            raise StoreFull("no space left")
        return self.measure()

    def measure(self) -> Space:
        free_bytes = 0 if self._answer().full else 1 << 39
        return Space(total_bytes=1 << 40, free_bytes=free_bytes, total_inodes=1, free_inodes=1)

    # ---- the commit protocol ----

    async def seal(self, landings: Sequence[Landing]) -> Sequence[Landing | NotPlaced]:
        return [await self._seal(landing) for landing in landings]

    async def _seal(self, landing: Landing) -> Landing | NotPlaced:
        await self._at("seal", landing.name)
        try:
            volume = self._answer()
            if landing.root != self.staging_root:
                raise StoreFault(f"store {self.label!r} takes bytes from its staging only")
        except StoreError as exc:
            return NotPlaced(landing, exc)
        wrong = volume.wrong_staged(landing, read_bytes=False)
        if wrong is not None:
            return NotPlaced(landing, wrong)
        try:
            await self._at("fsync", landing.name)
        except StoreError as exc:
            volume.discard(landing.rel)
            return NotPlaced(landing, exc)
        self._settle(landing)
        return landing

    def _settle(self, landing: Landing) -> None:
        for key in self.volume.staged_keys(landing.rel):
            self.volume.staged[key].settle()

    async def place(self, landings: Sequence[Landing]) -> Sequence[Placed | NotPlaced]:
        return [await self._place(landing) for landing in landings]

    async def _place(self, landing: Landing) -> Placed | NotPlaced:
        await self._at("place", landing.name)
        try:
            volume = self._answer()
        except StoreError as exc:
            return NotPlaced(landing, exc)
        missing = volume.wrong_staged(landing, read_bytes=False)
        if volume.stands(landing.name):
            wrong = volume.wrong_at_name(landing, extra=Extra())
            if wrong is None:
                volume.keep_manifest(landing)
                volume.discard(landing.rel)
                return Placed(landing)
            if landing.action is not Action.HEAL or isinstance(missing, SourceMissing) or self._can.keeping is None:
                return NotPlaced(landing, NameOccupied(f"something else stands at {landing.name!a}: {wrong.message}"))
            set_bad_aside(volume, landing.name, landing.digest)  # they change places in one step
        elif isinstance(missing, SourceMissing):
            return NotPlaced(landing, missing)
        if volume.below_a_file(landing.name):
            return NotPlaced(landing, NameOccupied(f"a part of the path of {landing.name!a} is not a directory"))
        if not all(volume.staged[key].is_durable for key in volume.staged_keys(landing.rel)):
            self._unsealed(landing)
        volume.give_name(landing)
        volume.keep_manifest(landing)
        await self._at("placed", landing.name)
        return Placed(landing)

    async def recover(self, landing: Landing) -> Placed | NotPlaced:
        await self._at("recover", landing.name)
        try:
            volume = self._answer()
        except StoreError as exc:
            return NotPlaced(landing, exc)
        if volume.wrong_at_name(landing) is None:
            return await self._place(landing)
        wrong = volume.wrong_staged(landing, read_bytes=True)
        if wrong is not None:
            occupied = NameOccupied(f"{landing.name!a} is taken")
            return NotPlaced(landing, occupied if volume.stands(landing.name) else wrong)
        self._settle(landing)
        return await self._place(landing)

    # ---- reading ----

    async def check(self, name: Name, digest: Digest, unit: Unit, size_bytes: int) -> Check:
        await self._at("check", name)
        self._reads()
        try:
            volume = self._answer()
        except StoreError as exc:
            return Check(size_bytes=0, digest=None, error=exc)
        if unit is Unit.BOOK:
            return self._check_book(Expected(name=name, digest=digest, unit=unit, size_bytes=size_bytes))
        inode = volume.named.get(name)
        if inode is None:
            return Check(size_bytes=0, digest=None, error=SourceMissing(f"no file stands at {name!a} in the store"))
        found = Digest.blake3(bytes(inode.data))
        found_bytes = len(inode.data)
        wrong: ChecksumMismatch | SizeMismatch | None = None
        if found_bytes != size_bytes:
            wrong = SizeMismatch(f"{name!a} has {found_bytes} bytes, not {size_bytes}")
        elif found != digest:
            wrong = ChecksumMismatch(f"its bytes are {found}, not {digest}")
        return Check(size_bytes=found_bytes, digest=found, error=wrong)

    def _check_book(self, wanted: Expected) -> Check:
        extra = Extra()
        wrong = self.volume.wrong_at_name(wanted, extra=extra)
        if wrong is not None:
            return Check(size_bytes=0, digest=None, error=wrong)
        text = self.volume.manifest_of(wanted) or b""
        sizes = (member.size_bytes for member in members(text, wanted.digest) if isinstance(member, MemberFile))
        return Check(size_bytes=sum(sizes), digest=wanted.digest, extra=extra.examples, extra_count=extra.count)

    async def look(self, wanted: Sequence[Expected]) -> Sequence[Looked]:
        await self._at("look", "")
        return [self._look(file) for file in wanted]

    def _look(self, wanted: Expected) -> Looked:
        extra = Extra()
        return Looked(self._answer().wrong_at_name(wanted, read_bytes=False, extra=extra), extra)

    async def open_part(self, name: Name, digest: Digest, part: str, member: MemberPath | None) -> MemoryReader:
        volume = self._answer()
        self._reads()
        data: bytes | bytearray | None
        if part == Part.MANIFEST:
            data = volume.manifests.get(digest.hex)
        elif part == Part.ATTRIBUTES:
            data = volume.lists.get(digest.hex)
        else:
            inode = volume.named.get(name if member is None else f"{name}/{member}")
            data = None if inode is None else inode.data
        if data is None:
            raise SourceMissing(f"{part} of {name!a} is not in store {self.label!r}")
        return MemoryReader(bytes(data))

    async def read_parts(self, wanted: Sequence[WantedPart]) -> Sequence[PartRead]:
        return await read_each(self, wanted)

    async def manifest(self, digest: Digest) -> AsyncIterator[Sequence[Member]]:
        text = self._answer().manifests.get(digest.hex)
        if text is None:
            raise SourceMissing(f"no manifest of {digest} is stored")
        for page in _pages(members(text, digest)):
            yield page

    async def staged_manifest(self, key: str, digest: Digest) -> AsyncIterator[Sequence[Member]]:
        inode = self._answer().staged.get(key)
        if inode is None:
            raise StoreFault(f"nothing is staged under {key!a}")
        for page in _pages(members(bytes(inode.data), digest)):
            yield page

    async def space(self) -> Space:
        return self.measure()

    # ---- staging ----

    async def has_staged(self, key: str) -> bool:
        return self._answer().is_staged(key)

    async def discard(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._answer().discard(key)

    async def staged(self) -> frozenset[str]:
        return frozenset(key.partition("/")[0] for key in self._answer().staged)

    # ---- witness ----

    async def read_head(self) -> str | None:
        return self._answer().head

    async def write_head(self, text: str) -> None:
        await self._at("head", "")
        self._answer().head = text


def _pages(found: Iterator[Member]) -> Iterator[Sequence[Member]]:
    while page := list(islice(found, PAGE_MEMBERS)):
        yield page
