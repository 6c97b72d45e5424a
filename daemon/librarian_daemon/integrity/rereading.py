"""Reads instances whole, at a rate and within hours of the day."""

from __future__ import annotations

from blake3 import blake3

from librarian_adapters.contract import Part
from librarian_daemon.catalog.integrity.instances import Holding
from librarian_daemon.fs.page_cache import forget
from librarian_daemon.ports.store import Reader, Store
from librarian_daemon.ports.time import Clock
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Unit
from librarian_protocol.errors import ManifestInvalid, SourceMissing
from librarian_protocol.manifest import MemberFile
from librarian_protocol.names import MemberPath
from librarian_protocol.scrub import ALWAYS, Hours

CHUNK_BYTES = 1 << 20
#: Shorter delays are saved up.
_LEAST_S = 0.02


class Pace:
    """How fast one store is read now."""

    def __init__(self, clock: Clock, rate: float) -> None:
        self._clock = clock
        self._free_s = 0.0
        #: Bytes a second.
        self.rate = rate
        self.hours: Hours = ALWAYS

    def closed_s(self) -> int:
        """Seconds until it may read; 0 if it may now."""
        return self.hours.closed_s(self._clock.unix_s())

    async def spend(self, size_bytes: int) -> None:
        """So much was read: wait as long as that takes at this rate."""
        now_s = self._clock.boottime_s()
        self._free_s = max(self._free_s, now_s) + size_bytes / self.rate
        if self._free_s - now_s >= _LEAST_S:
            await self._clock.sleep(self._free_s - now_s)

    async def opens(self) -> None:
        """Wait until it may read."""
        while closed_s := self.closed_s():
            await self._clock.sleep(float(closed_s))


async def is_right(store: Store, holding: Holding, pace: Pace) -> bool:
    """Read the instance and compare. What is wrong with it, the custodian says.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        if holding.unit is Unit.FILE:
            found = await _read(store, holding, Part.FILE, None, pace)
            return found == (holding.size_bytes, holding.digest)
        size_bytes = 0
        async for members in store.manifest(holding.digest):
            for member in members:
                if not isinstance(member, MemberFile):
                    continue
                found = await _read(store, holding, Part.MEMBER, member.path, pace)
                if found != (member.size_bytes, member.digest):
                    return False
                size_bytes += member.size_bytes
    except (SourceMissing, ManifestInvalid):
        return False
    return size_bytes == holding.size_bytes


async def _read(
    store: Store, holding: Holding, part: Part, member: MemberPath | None, pace: Pace
) -> tuple[int, Digest]:
    """Size and digest. Where it may not go on, the file is closed meanwhile: a store may be unmounted."""
    hasher, at = blake3(), 0
    while True:
        reader = await store.open_part(holding.name, holding.digest, part, member)
        try:
            while not pace.closed_s():
                chunk = await _chunk(reader, at)
                hasher.update(chunk)
                at += len(chunk)
                await pace.spend(len(chunk))
                if len(chunk) < CHUNK_BYTES:
                    return at, Digest(f"blake3:{hasher.hexdigest()}")
        finally:
            reader.close()
        await pace.opens()


async def _chunk(reader: Reader, at: int) -> bytes:
    """The next bytes, from the disk where that can be, and without pushing others out of memory."""
    fd = reader.fileno()
    if fd is not None:
        forget(fd, at, CHUNK_BYTES)
    chunk = await reader.read(at, CHUNK_BYTES)
    if fd is not None:
        forget(fd, at, CHUNK_BYTES)
    return chunk
