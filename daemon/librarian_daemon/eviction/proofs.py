"""Reads stored instances whole, and proves it: the file's digest, and proofs of round 2, in one reading."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

import msgspec
from blake3 import blake3

from librarian_adapters.contract import Part
from librarian_daemon.ports.store import Reader, Store, WantedPart
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Unit
from librarian_protocol.errors import LibrarianError, StoreError
from librarian_protocol.manifest import MemberFile
from librarian_protocol.names import MemberPath, Name

#: Smaller files are read many in one call of their store.
SMALL_BYTES = 256 << 10
_CHUNK_BYTES = 4 << 20
#: Bytes of small files that are in memory at once.
_TOGETHER_BYTES = 16 << 20


class Hash(Protocol):
    """What takes the bytes."""

    def update(self, data: bytes, /) -> object:
        """Take them."""
        ...


class ToRead(msgspec.Struct, frozen=True, kw_only=True):
    """An instance to be read, and the hashes that take its bytes: of a book its members', in the manifest's order."""

    #: Where it stands, as a path below the store.
    place: Name
    digest: Digest
    unit: Unit
    size_bytes: int
    proofs: Sequence[Hash]


async def read(store: Store, wanted: Sequence[ToRead]) -> list[bool]:
    """Whether each was read whole and is right. What cannot be read is not."""
    found = [False] * len(wanted)
    together: list[int] = []
    size_bytes = 0
    for at, one in enumerate(wanted):
        if one.unit is Unit.BOOK or one.size_bytes > SMALL_BYTES:
            found[at] = await _large(store, one)
            continue
        if together and size_bytes + one.size_bytes > _TOGETHER_BYTES:
            await _small(store, wanted, together, found)
            together, size_bytes = [], 0
        together.append(at)
        size_bytes += one.size_bytes
    if together:
        await _small(store, wanted, together, found)
    return found


async def _small(store: Store, wanted: Sequence[ToRead], which: Sequence[int], found: list[bool]) -> None:
    parts = [
        WantedPart(
            name=wanted[at].place,
            digest=wanted[at].digest,
            part=Part.FILE,
            member=None,
            most_bytes=wanted[at].size_bytes,
        )
        for at in which
    ]
    for at, data in zip(which, await store.read_parts(parts), strict=True):
        if isinstance(data, bytes) and len(data) == wanted[at].size_bytes:
            for proof in wanted[at].proofs:
                proof.update(data)
            found[at] = Digest.blake3(data) == wanted[at].digest


async def _large(store: Store, one: ToRead) -> bool:
    try:
        if one.unit is Unit.FILE:
            return await _file(store, one, one.digest, one.size_bytes, None, Part.FILE)
        async for page in store.manifest(one.digest):
            for member in page:
                if isinstance(member, MemberFile) and not await _file(
                    store, one, member.digest, member.size_bytes, member.path, Part.MEMBER
                ):
                    return False
        return True
    except LibrarianError:
        return False


async def _file(
    store: Store, one: ToRead, digest: Digest, size_bytes: int, member: MemberPath | None, part: Part
) -> bool:
    reader: Reader = await store.open_part(one.place, one.digest, part, member)
    whole = blake3()
    try:
        if reader.size_bytes != size_bytes:
            return False
        at = 0
        while at < size_bytes:
            data = await reader.read(at, min(_CHUNK_BYTES, size_bytes - at))
            if not data:
                return False
            await asyncio.to_thread(_update, [whole, *one.proofs], data)
            at += len(data)
    except StoreError:
        return False
    finally:
        reader.close()
    return f"blake3:{whole.hexdigest()}" == str(digest)


def _update(hashes: Sequence[Hash], data: bytes) -> None:
    for one in hashes:
        one.update(data)
