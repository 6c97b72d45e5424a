"""Sends bytes of local instances: opens, limits and frames them, for every asker and kind of connection.

An instance that cannot be sent as announced is ``SourceMissing``, and this site reads it again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

import msgspec

from librarian_adapters.contract import Buffer, Part
from librarian_adapters.http.bundle import MAX_ITEM_BYTES, Asked, encode_error, encode_frame
from librarian_daemon.dataplane.kernel_copy import KernelCopy
from librarian_daemon.ports.store import PartRead, Reader, TooLarge, WantedPart
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Unit
from librarian_protocol.errors import (
    DigestInvalid,
    NotOffered,
    SizeMismatch,
    SourceMissing,
    SourceUnreachable,
    StoreError,
    StoreFault,
    StoreNotMounted,
)
from librarian_protocol.names import MemberPath, Name, SiteName

CHUNK_BYTES = 1 << 20
#: Bytes handed to a connection at once: if the link fails, most of them are lost.
SENT_BYTES = 256 << 10
#: The most items of a bundle that are looked up at once, read in one call of their store and sent in one write.
GROUP_ITEMS = 256


class Opening(Protocol):
    """A store, as the data plane needs it (see :class:`librarian_daemon.ports.store.Store`)."""

    async def open_part(self, name: Name, digest: Digest, part: str, member: MemberPath | None) -> Reader:
        """Open one part of an instance for reading."""
        ...

    async def read_parts(self, wanted: Sequence[WantedPart]) -> Sequence[PartRead]:
        """Read small parts whole: one outcome for each, in order."""
        ...


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """A local instance that may be sent."""

    #: The path below its store: its name, or its place in trash.
    name: Name
    digest: Digest
    unit: Unit
    size_bytes: int
    store: Opening
    #: Whether it is offered to the asking site.
    offered: bool = True
    #: Members that are bad: a last instance is sent without them.
    bad: frozenset[str] = frozenset()


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

        And bad books of which no site has a good instance, with the members that must not be sent.

        The answer says which are not offered to ``asker``. At most a few hundred digests; unknown digests are missing
        from the answer.
        """
        ...


class Suspicions(Protocol):
    """Receives the data plane's complaints about instances."""

    async def missing(self, digest: Digest, reason: str) -> None:
        """Request that the instance is read again. Idempotent, and cheap: it is called for each failed request."""
        ...


class CutReader:
    """Implements ``Reader``; gives no more bytes once it is cut: they were found bad meanwhile."""

    def __init__(self, reader: Reader, closed: Callable[[CutReader], None]) -> None:
        self.size_bytes = reader.size_bytes
        self.is_cut = False
        self._reader = reader
        self._closed = closed

    async def read(self, begin: int, size_bytes: int) -> bytes:
        """As the reader. Raises StoreError also where it was cut."""
        chunk = b"" if self.is_cut else await self._reader.read(begin, size_bytes)
        if self.is_cut:
            raise StoreFault("the instance was found bad meanwhile")
        return chunk

    def fileno(self) -> int | None:
        """As the reader. Who sends by the descriptor asks :attr:`is_cut` before each piece."""
        return self._reader.fileno()

    def close(self) -> None:
        """Idempotent."""
        self._closed(self)
        self._reader.close()


class Sender:
    """Opens and reads instances for other sites."""

    def __init__(self, site: SiteName, holdings: Holdings, suspicions: Suspicions) -> None:
        self._site = site
        self._holdings = holdings
        self._suspicions = suspicions
        self._open: dict[Digest, set[CutReader]] = {}
        #: How often readers were cut.
        self._cuts = 0

    def cut(self, digest: Digest) -> None:
        """An instance of these bytes was found bad, and that is committed: whoever reads one of them gets no more."""
        self._cuts += 1
        for reader in self._open.get(digest, ()):
            reader.is_cut = True

    async def find(self, asker: SiteName, asked: Asked) -> CutReader:
        """As :meth:`open`, of the instance that is held now."""
        while True:
            cuts = self._cuts
            reader = await self.open(asked, (await self._holdings.find(asker, [asked.digest])).get(asked.digest))
            if cuts == self._cuts:
                break
            reader.close()  # it may be what was found bad since the catalog was asked
        cuttable = CutReader(reader, partial(self._ended, asked.digest))
        self._open.setdefault(asked.digest, set()).add(cuttable)
        return cuttable

    def _ended(self, digest: Digest, reader: CutReader) -> None:
        still = self._open.get(digest, set())
        still.discard(reader)
        if not still:
            self._open.pop(digest, None)

    async def open(self, asked: Asked, holding: Holding | None) -> Reader:
        """Open the requested instance.

        Raises:
            SourceMissing: it is not held here, or no longer as the catalog says; then it is suspected.
            NotOffered: it is held, and not offered to the asker.
            SourceUnreachable: its store is not mounted.
        """
        held = self._allowed(asked, holding)
        try:
            reader = await held.store.open_part(held.name, _digest(asked), asked.part, asked.member)
        except StoreNotMounted as exc:
            raise self._unmounted(asked) from exc
        except (SourceMissing, StoreError) as exc:
            raise await self._unreadable(asked, f"does not open: {exc.message}") from exc
        if asked.part is Part.FILE and reader.size_bytes != held.size_bytes:
            reader.close()
            raise await self._other_size(asked, held, reader.size_bytes)
        return reader

    def _allowed(self, asked: Asked, holding: Holding | None) -> Holding:
        """The holding, if the asker may have that part of it. Raises SourceMissing, NotOffered."""
        if holding is None or (holding.unit is Unit.FILE) != (asked.part is Part.FILE):
            raise SourceMissing(f"site {self._site} does not hold {asked.part} of {asked.digest}")
        if asked.member is not None and asked.member in holding.bad:
            raise SourceMissing(f"site {self._site} does not hold {asked.part} {asked.member!a} of {asked.digest}")
        if not holding.offered:
            raise NotOffered(f"site {self._site} does not offer {asked.digest} to the site that asks")
        return holding

    async def _suspect(self, asked: Asked, reason: str) -> None:
        """Request that the instance is read again; a list of attributes says nothing about its bytes."""
        if asked.part is not Part.ATTRIBUTES:
            await self._suspicions.missing(asked.digest, reason)

    def _unmounted(self, asked: Asked) -> SourceUnreachable:
        # Not mounted never means "gone"; and the local path stays private.
        return SourceUnreachable(f"the store of {asked.digest} is not mounted at site {self._site}")

    async def _unreadable(self, asked: Asked, why: str) -> SourceMissing:
        await self._suspect(asked, f"{asked.part} {why}")
        return SourceMissing(f"site {self._site} cannot read {asked.part} of {asked.digest}")

    async def _other_size(self, asked: Asked, holding: Holding, size_bytes: int) -> SourceMissing:
        reason = f"the file has {size_bytes} bytes, not {holding.size_bytes}"
        await self._suspect(asked, reason)
        return SourceMissing(f"site {self._site} does not hold {asked.digest} any more: {reason}")

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
                raise await self._unreadable(asked, f"cannot be read: {exc.message}") from exc
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
            raise await self._unreadable(asked, f"cannot be read: {exc.strerror or exc}") from exc
        if copy.at < copy.end:
            raise await self._cut_short(asked, copy.at, copy.end)

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
        digests = dict.fromkeys(item.digest for item in asked[at : at + GROUP_ITEMS])
        if unknown := [digest for digest in digests if digest not in found]:
            answers = await self._holdings.find(asker, unknown)
            found.update({digest: answers.get(digest) for digest in unknown})
        frames: list[bytes] = []
        end = _end(asked, at)
        by_store: dict[Opening, dict[int, tuple[Holding, WantedPart]]] = {}
        for item in range(at, end):
            try:
                holding = self._allowed(asked[item], found[asked[item].digest])
                by_store.setdefault(holding.store, {})[item] = holding, _wanted(asked[item], holding)
            except (SourceMissing, NotOffered) as exc:
                frames.append(encode_error(item, exc.code, exc.message))
        for store, items in by_store.items():
            outcomes = await store.read_parts([wanted for _, wanted in items.values()])
            for (item, (holding, _)), outcome in zip(items.items(), outcomes, strict=True):
                try:
                    frames.append(encode_frame(item, await self._whole(asked[item], holding, outcome)))
                except (SourceMissing, SourceUnreachable, SizeMismatch) as exc:
                    frames.append(encode_error(item, exc.code, exc.message))
        return b"".join(frames), end

    async def _whole(self, asked: Asked, holding: Holding, outcome: PartRead) -> bytes:
        """What a store has read.

        Raises:
            SourceMissing: it is not as the catalog says; it is suspected.
            SourceUnreachable: the store is not mounted.
            SizeMismatch: it is larger than the asker wants it.
        """
        if isinstance(outcome, StoreNotMounted):
            raise self._unmounted(asked) from outcome
        if isinstance(outcome, SourceMissing | StoreError):
            raise await self._unreadable(asked, f"cannot be read: {outcome.message}") from outcome
        size_bytes = outcome.size_bytes if isinstance(outcome, TooLarge) else len(outcome)
        if asked.part is Part.FILE and size_bytes != holding.size_bytes:
            raise await self._other_size(asked, holding, size_bytes)
        if isinstance(outcome, TooLarge):
            raise SizeMismatch(f"{asked.part} of {asked.digest} has {size_bytes} bytes, not up to {_most(asked)}")
        return outcome


def _digest(asked: Asked) -> Digest:
    """The digest by which a store finds the part: the file's, or that of a list of attributes."""
    if asked.part is not Part.ATTRIBUTES:
        return asked.digest
    try:
        return Digest.parse(f"blake3:{asked.member}")
    except DigestInvalid as exc:
        raise SourceMissing(f"{asked.part} of {asked.digest} are asked for by no digest: {exc.message}") from exc


def _most(asked: Asked) -> int:
    """The most bytes that are sent of an item of a bundle."""
    return min(asked.size_bytes, MAX_ITEM_BYTES)


def _wanted(asked: Asked, holding: Holding) -> WantedPart:
    return WantedPart(
        name=holding.name, digest=_digest(asked), part=asked.part, member=asked.member, most_bytes=_most(asked)
    )


def _end(asked: Sequence[Asked], at: int) -> int:
    """Where the group that begins at ``at`` ends: its items have about 1 MiB, and one item more at most."""
    size_bytes = 0
    end = at
    while end < min(at + GROUP_ITEMS, len(asked)) and size_bytes < CHUNK_BYTES:
        size_bytes += _most(asked[end])
        end += 1
    return end
