"""What a memory store can besides: keeping bytes that leave their name, and listing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import count

from tests.support.memory_volume import OURS, Volume, children, members

from librarian_daemon.ports.store_capabilities import Candidate, DirEntry, Expected
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Unit
from librarian_protocol.errors import NameOccupied, SourceMissing
from librarian_protocol.manifest import MemberFile
from librarian_protocol.names import Name


def aside(digest: Digest) -> str:
    """Where what is set aside stands."""
    return f"{OURS}/conflict/{digest.hex}"


def free_place(volume: Volume, kind: str, digest: Digest) -> str:
    """A key that nothing stands at."""
    first = f"{OURS}/{kind}/{digest.hex}"
    return next(place for n in count(1) if not volume.stands(place := first if n == 1 else f"{first}.{n}"))


def set_bad_aside(volume: Volume, name: Name, digest: Digest) -> None:
    """Take the name from bytes that are not what they should be."""
    volume.move(name, free_place(volume, "bad", digest))


class MemoryKeeping:
    """Implements :class:`librarian_daemon.ports.store_capabilities.Keeping`."""

    def __init__(self, answer: Callable[[], Volume]) -> None:
        self._answer = answer

    async def set_aside(self, name: Name, digest: Digest) -> None:
        volume = self._answer()
        if volume.stands(aside(digest)):
            return
        if not volume.stands(name):
            raise SourceMissing(f"nothing stands at {name!a}")
        volume.move(name, aside(digest))

    async def is_aside(self, digest: Digest) -> bool:
        return self._answer().stands(aside(digest))

    async def bring_back(self, name: Name, digest: Digest) -> None:
        volume = self._answer()
        if not volume.stands(aside(digest)):
            if volume.stands(name):
                return
            raise SourceMissing(f"the bytes of {name!a} stand neither aside nor at their name")
        if volume.stands(name):
            raise NameOccupied(f"something else stands at {name!a}")
        volume.move(aside(digest), name)

    async def free_place(self, digest: Digest, *, withdrawn: bool) -> str:
        return free_place(self._answer(), "withdrawn" if withdrawn else "bad", digest)

    async def move_away(self, name: Name, digest: Digest, place: str, *, aside: bool) -> bool:
        volume = self._answer()
        old = f"{OURS}/conflict/{digest.hex}" if aside else str(name)
        if not volume.stands(place):
            if not volume.stands(old):
                return False
            volume.move(old, place)
        return True

    async def stage_good(self, name: Name, members: Sequence[MemberFile], key: str) -> Sequence[bool]:
        volume = self._answer()
        return [self._stage(volume, name, member, key) for member in members]

    def _stage(self, volume: Volume, name: Name, member: MemberFile, key: str) -> bool:
        inode = volume.named.get(f"{name}/{member.path}")
        staged = f"{key}/{member.path}"
        if inode is None or staged in volume.staged or Digest.blake3(bytes(inode.data)) != member.digest:
            return False
        volume.staged[staged] = inode
        return True

    async def drop_bad(self, digest: Digest) -> bool:
        volume = self._answer()
        for key in [key for key in volume.named if key.startswith(f"{OURS}/bad/{digest.hex}")]:
            del volume.named[key]
        return True


class MemoryListing:
    """Implements :class:`librarian_daemon.ports.store_capabilities.Listing`."""

    def __init__(self, answer: Callable[[], Volume], at: Callable[[str, str], Awaitable[None]]) -> None:
        self._answer = answer
        self._at = at

    async def entries(self, directory: bytes) -> AsyncIterator[Sequence[DirEntry]]:
        await self._at("list", directory.decode())
        yield [
            DirEntry(path=path.encode(), directory=is_directory, other=False, size_bytes=size_bytes)
            for path, is_directory, size_bytes in children(self._answer(), directory.decode())
        ]

    async def books(self) -> MemoryBooks:
        return MemoryBooks(self._answer())


class MemoryBooks:
    """Implements :class:`librarian_daemon.ports.store_capabilities.BookFinder`."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume

    async def candidates(self, directory: bytes) -> Sequence[Candidate]:
        name = Name(directory.decode())
        found: list[Candidate] = []
        for hex_, text in self._volume.manifests.items():
            digest = Digest(f"blake3:{hex_}")
            book = Expected(name=name, digest=digest, unit=Unit.BOOK, size_bytes=0)
            if self._volume.wrong_at_name(book, read_bytes=False) is None:
                sizes = (member.size_bytes for member in members(text, digest) if isinstance(member, MemberFile))
                found.append((digest, sum(sizes)))
        return found
