"""Sends bytes of local instances: opens, limits and frames them, for every asker and kind of connection.

An instance that cannot be sent as announced is ``SourceMissing``, and this site reads it again.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Protocol

import msgspec

from librarian_adapters.contract import Buffer, Part
from librarian_adapters.http.bundle import MAX_ITEM_BYTES, Asked, encode_error, encode_frame
from librarian_adapters.threads import in_thread
from librarian_daemon.dataplane.kernel_copy import KernelCopy
from librarian_daemon.ports.store import Reader
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Unit
from librarian_protocol.errors import (
    DigestInvalid,
    NotOffered,
    SizeMismatch,
    SourceMissing,
    SourceUnreachable,
    StoreError,
    StoreNotMounted,
)
from librarian_protocol.names import MemberPath, Name, SiteName

CHUNK_BYTES = 1 << 20
#: Bytes handed to a connection at once: if the link fails, most of them are lost.
SENT_BYTES = 256 << 10
#: A group of a bundle's items is read in one call to a thread and sent in one write.
_GROUP_ITEMS = 64


class Opening(Protocol):
    """A store, as the data plane needs it (see :class:`librarian_daemon.ports.store.Store`)."""

    async def open_part(self, name: Name, digest: Digest, part: str, member: MemberPath | None) -> Reader:
        """Open one part of an instance for reading."""
        ...


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """A local instance that may be sent."""

    name: Name
    digest: Digest
    unit: Unit
    size_bytes: int
    store: Opening
    #: Whether it is offered to the asking site.
    offered: bool = True


class Holdings(Protocol):
    """The catalog, as the data plane needs it."""

    def roster(self) -> Mapping[SiteName, str]:
        """The key of each admitted site."""
        ...

    def may_read(self, site: SiteName) -> str:
        """Why an admitted site gets no data from here (it is a witness, or revoked); "" if it does."""
        ...

    async def find(self, asker: SiteName, digests: Sequence[Digest]) -> Mapping[Digest, Holding]:
        """Local instances that are available: neither suspected, nor doubted without an answer, nor set aside.

        The answer says which are not offered to ``asker``. At most a few hundred digests; unknown digests are missing
        from the answer.
        """
        ...


class Suspicions(Protocol):
    """Receives the data plane's complaints about instances."""

    async def missing(self, digest: Digest, reason: str) -> None:
        """Request that the instance is read again. Idempotent, and cheap: it is called for each failed request."""
        ...


class Sender:
    """Opens and reads instances for other sites."""

    def __init__(self, site: SiteName, holdings: Holdings, suspicions: Suspicions) -> None:
        self._site = site
        self._holdings = holdings
        self._suspicions = suspicions

    async def find(self, asker: SiteName, asked: Asked) -> Reader:
        """As :meth:`open`, of the instance that is held now."""
        return await self.open(asked, (await self._holdings.find(asker, [asked.digest])).get(asked.digest))

    async def open(self, asked: Asked, holding: Holding | None) -> Reader:
        """Open the requested instance.

        Raises:
            SourceMissing: it is not held here, or no longer as the catalog says; then it is suspected.
            NotOffered: it is held, and not offered to the asker.
            SourceUnreachable: its store is not mounted.
        """
        if holding is None or (holding.unit is Unit.FILE) != (asked.part is Part.FILE):
            raise SourceMissing(f"site {self._site} does not hold {asked.part} of {asked.digest}")
        if not holding.offered:
            raise NotOffered(f"site {self._site} does not offer {asked.digest} to the site that asks")
        try:
            digest = _list_digest(asked) if asked.part is Part.ATTRIBUTES else holding.digest
            reader = await holding.store.open_part(holding.name, digest, asked.part, asked.member)
        except StoreNotMounted as exc:
            # Not mounted never means "gone"; and the local path stays private.
            raise SourceUnreachable(f"the store of {asked.digest} is not mounted at site {self._site}") from exc
        except (SourceMissing, StoreError) as exc:
            await self._suspect(asked, f"{asked.part} does not open: {exc.message}")
            raise SourceMissing(f"site {self._site} cannot read {asked.part} of {asked.digest}") from exc
        if asked.part is Part.FILE and reader.size_bytes != holding.size_bytes:
            reader.close()
            reason = f"the file has {reader.size_bytes} bytes, not {holding.size_bytes}"
            await self._suspect(asked, reason)
            raise SourceMissing(f"site {self._site} does not hold {asked.digest} any more: {reason}")
        return reader

    async def _suspect(self, asked: Asked, reason: str) -> None:
        """Request that the instance is read again; a list of attributes says nothing about its bytes."""
        if asked.part is not Part.ATTRIBUTES:
            await self._suspicions.missing(asked.digest, reason)

    async def read(self, asked: Asked, reader: Reader, begin: int) -> AsyncGenerator[Buffer]:
        """The bytes from ``begin``, in pieces: read 1 MiB at a time, sent in smaller pieces.

        Raises:
            SourceMissing: they cannot be read, or end too early; the instance is suspected.
        """
        end = reader.size_bytes
        while begin < end:
            try:
                chunk = await reader.read(begin, min(CHUNK_BYTES, end - begin))
            except StoreError as exc:
                raise await self._unreadable(asked, exc.message) from exc
            if not chunk:
                raise await self._cut_short(asked, begin, end)
            view = memoryview(chunk)
            for at in range(0, len(chunk), SENT_BYTES):
                yield view[at : at + SENT_BYTES]
            begin += len(chunk)

    async def copy(self, asked: Asked, copy: KernelCopy) -> None:
        """Have the kernel send the bytes.

        Raises:
            SourceMissing: as :meth:`read`.
            Cut, CannotCopy, ConnectionError: as :meth:`KernelCopy.run`.
        """
        try:
            await copy.run()
        except ConnectionError:
            raise
        except OSError as exc:
            raise await self._unreadable(asked, exc.strerror or str(exc)) from exc
        if copy.at < copy.end:
            raise await self._cut_short(asked, copy.at, copy.end)

    async def _unreadable(self, asked: Asked, why: str) -> SourceMissing:
        await self._suspect(asked, f"reading {asked.part} failed: {why}")
        return SourceMissing(f"site {self._site} cannot read {asked.part} of {asked.digest}")

    async def _cut_short(self, asked: Asked, at: int, end: int) -> SourceMissing:
        await self._suspect(asked, f"{asked.part} ends at {at}, not at {end}")
        return SourceMissing(f"{asked.part} of {asked.digest} ends at {at}, not at {end}")

    async def frames(self, asker: SiteName, asked: Sequence[Asked]) -> AsyncGenerator[bytes]:
        """A bundle: the frames of all items, some together."""
        # The members of a book come one after another, and have one holding.
        found: dict[Digest, Holding | None] = {}
        at = 0
        while at < len(asked):
            frames, at = await self.group(asker, asked, at, found)
            yield frames

    async def group(
        self, asker: SiteName, asked: Sequence[Asked], at: int, found: dict[Digest, Holding | None]
    ) -> tuple[bytes, int]:
        """Frames of the next items, and the index of the next group."""
        readers: dict[int, Reader] = {}
        frames: list[bytes] = []
        size_bytes = 0
        unknown = sorted({item.digest for item in asked[at : at + _GROUP_ITEMS]} - found.keys())
        if unknown:
            answers = await self._holdings.find(asker, unknown)
            found.update({digest: answers.get(digest) for digest in unknown})
        try:
            end = min(at + _GROUP_ITEMS, len(asked))
            while at < end and size_bytes < CHUNK_BYTES:
                try:
                    reader = await self.open(asked[at], found[asked[at].digest])
                    readers[at] = reader
                    _bounded(asked[at], reader)
                    size_bytes += reader.size_bytes
                except (SourceMissing, SourceUnreachable, SizeMismatch, NotOffered) as exc:
                    opened = readers.pop(at, None)
                    if opened is not None:
                        opened.close()
                    frames.append(encode_error(at, exc.code, exc.message))
                at += 1
            for item, data in await _read_all(readers):
                if isinstance(data, bytes):
                    frames.append(encode_frame(item, data))
                    continue
                error = await self._unreadable(asked[item], data)
                frames.append(encode_error(item, error.code, error.message))
        finally:
            for reader in readers.values():
                reader.close()
        return b"".join(frames), at


def _list_digest(asked: Asked) -> Digest:
    try:
        return Digest.parse(f"blake3:{asked.member}")
    except DigestInvalid as exc:
        raise SourceMissing(f"{asked.part} of {asked.digest} are asked for by no digest: {exc.message}") from exc


async def _read_all(readers: Mapping[int, Reader]) -> list[tuple[int, bytes | str]]:
    """Each reader's bytes, or why they cannot be read. Readers with a descriptor are read in one call to a thread."""
    described: list[tuple[int, int, int]] = []
    found: list[tuple[int, bytes | str]] = []
    for item, reader in readers.items():
        descriptor = reader.fileno()
        if descriptor is not None:
            described.append((item, descriptor, reader.size_bytes))
            continue
        try:
            found.append((item, _whole(await reader.read(0, reader.size_bytes), reader.size_bytes)))
        except StoreError as exc:
            found.append((item, exc.message))
    return found + (await in_thread(_read_described, described) if described else [])


def _read_described(described: Sequence[tuple[int, int, int]]) -> list[tuple[int, bytes | str]]:
    """Read each descriptor up to its size. Blocks."""
    found: list[tuple[int, bytes | str]] = []
    for item, descriptor, size_bytes in described:
        try:
            found.append((item, _whole(os.pread(descriptor, size_bytes, 0), size_bytes)))
        except OSError as exc:
            found.append((item, exc.strerror or "error"))
    return found


def _whole(data: bytes, size_bytes: int) -> bytes | str:
    return data if len(data) == size_bytes else f"it ends at {len(data)} bytes"


def _bounded(asked: Asked, reader: Reader) -> None:
    most = min(asked.size_bytes, MAX_ITEM_BYTES)
    if reader.size_bytes > most:
        raise SizeMismatch(f"{asked.part} of {asked.digest} has {reader.size_bytes} bytes, not up to {most}")
