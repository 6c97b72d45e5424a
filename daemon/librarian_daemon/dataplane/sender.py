"""Giving bytes of local instances: opened, bounded, framed; whoever asked for them, over whichever connection.

Whatever cannot be given as announced is ``SourceMissing``, and its owner, this site, is told to read it again.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Protocol

import msgspec

from librarian_adapters.bundle import MAX_ITEM_BYTES, Asked, encode_error, encode_frame
from librarian_adapters.contract import Buffer, Part
from librarian_adapters.threads import in_thread
from librarian_daemon.ports import Reader
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Unit
from librarian_protocol.errors import (
    NotOffered,
    SizeMismatch,
    SourceMissing,
    SourceUnreachable,
    StoreError,
    StoreNotMounted,
)
from librarian_protocol.names import MemberPath, Name, SiteName

CHUNK_BYTES = 1 << 20
#: What is handed to a connection at once: with a link that dies, most of it is lost.
SENT_BYTES = 256 << 10
#: A group of a bundle's items is read in one hop to a thread and sent in one write.
_GROUP_ITEMS = 64


class Opening(Protocol):
    """What the data plane needs of a store (see :class:`librarian_daemon.ports.Store`)."""

    async def open_part(self, name: Name, digest: Digest, part: str, member: MemberPath | None) -> Reader:
        """Open one part of an instance for reading."""
        ...


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """A local instance that may be given away."""

    name: Name
    digest: Digest
    unit: Unit
    size_bytes: int
    store: Opening
    #: Whether it is offered to the site that asks.
    offered: bool = True


class Holdings(Protocol):
    """What the data plane needs of the catalog."""

    def roster(self) -> Mapping[SiteName, str]:
        """The key of each admitted site."""
        ...

    def may_read(self, site: SiteName) -> str:
        """Why an admitted site gets no data from here (it is a witness, or revoked); "" where it does."""
        ...

    async def find(self, asker: SiteName, digests: Sequence[Digest]) -> Mapping[Digest, Holding]:
        """Local instances that are available: neither suspected, nor doubted without an answer, nor set aside.

        What is not offered to ``asker`` is said to be so in the answer.

        At most a few hundred digests; those of which there is none are missing from the answer.
        """
        ...


class Suspicions(Protocol):
    """Whom the data plane tells of what it could not give."""

    async def missing(self, digest: Digest, reason: str) -> None:
        """The instance is to be read again. Idempotent, and cheap: it is called for each failed request."""
        ...


class Giver:
    """Opens and reads what other sites may have."""

    def __init__(self, site: SiteName, holdings: Holdings, suspicions: Suspicions) -> None:
        self._site = site
        self._holdings = holdings
        self._suspicions = suspicions

    async def find(self, asker: SiteName, asked: Asked) -> Reader:
        """As :meth:`open`, of the instance that is held now."""
        return await self.open(asked, (await self._holdings.find(asker, [asked.digest])).get(asked.digest))

    async def open(self, asked: Asked, holding: Holding | None) -> Reader:
        """Open what is asked for.

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
            reader = await holding.store.open_part(holding.name, holding.digest, asked.part, asked.member)
        except StoreNotMounted as exc:
            # Not mounted is never "gone": the path to the local disk's name stays here.
            raise SourceUnreachable(f"the store of {asked.digest} is not mounted at site {self._site}") from exc
        except (SourceMissing, StoreError) as exc:
            await self._suspicions.missing(asked.digest, f"{asked.part} does not open: {exc.message}")
            raise SourceMissing(f"site {self._site} cannot read {asked.part} of {asked.digest}") from exc
        if asked.part is Part.FILE and reader.size_bytes != holding.size_bytes:
            reader.close()
            reason = f"the file has {reader.size_bytes} bytes, not {holding.size_bytes}"
            await self._suspicions.missing(asked.digest, reason)
            raise SourceMissing(f"site {self._site} does not hold {asked.digest} any more: {reason}")
        return reader

    async def read(self, asked: Asked, reader: Reader, begin: int) -> AsyncGenerator[Buffer]:
        """The bytes from ``begin`` on, in pieces: read 1 MiB at a time, sent in less.

        Raises:
            SourceMissing: they cannot be read, or end too early; the instance is suspected.
        """
        end = reader.size_bytes
        while begin < end:
            try:
                chunk = await in_thread(os.pread, reader.fileno(), min(CHUNK_BYTES, end - begin), begin)
            except OSError as exc:
                await self._suspicions.missing(asked.digest, f"reading {asked.part} failed: {exc.strerror}")
                raise SourceMissing(f"site {self._site} cannot read {asked.part} of {asked.digest}") from exc
            if not chunk:
                await self._suspicions.missing(asked.digest, f"{asked.part} ends at {begin}, not at {end}")
                raise SourceMissing(f"{asked.part} of {asked.digest} ends at {begin}, not at {end}")
            view = memoryview(chunk)
            for at in range(0, len(chunk), SENT_BYTES):
                yield view[at : at + SENT_BYTES]
            begin += len(chunk)

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
        """Frames of the next items, and where to go on."""
        readers: dict[int, Reader] = {}
        frames: list[bytes] = []
        size_bytes = 0
        unknown = sorted({one.digest for one in asked[at : at + _GROUP_ITEMS]} - found.keys())
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
            for item, data in await in_thread(_read_all, readers):
                if isinstance(data, bytes):
                    frames.append(encode_frame(item, data))
                    continue
                await self._suspicions.missing(asked[item].digest, f"reading {asked[item].part} failed: {data}")
                error = SourceMissing(f"site {self._site} cannot read {asked[item].part} of {asked[item].digest}")
                frames.append(encode_error(item, error.code, error.message))
        finally:
            for reader in readers.values():
                reader.close()
        return b"".join(frames), at


def _read_all(readers: Mapping[int, Reader]) -> list[tuple[int, bytes | str]]:
    """Each reader's bytes, or why they cannot be had. Blocks."""
    found: list[tuple[int, bytes | str]] = []
    for item, reader in readers.items():
        try:
            data = os.pread(reader.fileno(), reader.size_bytes, 0)
        except OSError as exc:
            found.append((item, exc.strerror or "error"))
            continue
        found.append((item, data if len(data) == reader.size_bytes else f"it ends at {len(data)} bytes"))
    return found


def _bounded(asked: Asked, reader: Reader) -> None:
    most = min(asked.size_bytes, MAX_ITEM_BYTES)
    if reader.size_bytes > most:
        raise SizeMismatch(f"{asked.part} of {asked.digest} has {reader.size_bytes} bytes, not up to {most}")
