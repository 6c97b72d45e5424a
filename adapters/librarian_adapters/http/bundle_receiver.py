"""Receiving a bundle: frames become staged items, or failures in the source's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from librarian_adapters.contract import Buffer, Item, Part
from librarian_adapters.http.bundle import Asked, Frame, FrameReader
from librarian_adapters.http.client import spoken
from librarian_protocol import wire
from librarian_protocol.errors import SizeMismatch, SourceInvalid, TransferError
from librarian_protocol.names import MemberPath

#: Small items are staged in groups of about this much: few calls, little memory.
_GROUP_BYTES = 2 << 20
_GROUP_ITEMS = 256


class Outlet(Protocol):
    """Where received items go: a batch on its way."""

    async def stage(self, group: Sequence[tuple[Item, Buffer]]) -> None:
        """Put whole small items into staging."""
        ...

    def arrived(self, item: Item, size_bytes: int) -> None:
        """So many more bytes of the item are here."""
        ...

    def refused(self, item: Item, error: TransferError) -> None:
        """The source answered for this item, and does not give it."""
        ...


def asked(item: Item) -> Asked:
    """How an item is asked for."""
    member = MemberPath(item.digest.hex) if item.part is Part.ATTRIBUTES else item.member
    return Asked(digest=item.file_digest, part=item.part, member=member, size_bytes=item.size_bytes)


class BundleReceiver:
    """The frames of one bundle, answered or pushed."""

    def __init__(self, run: Outlet, items: Sequence[Item]) -> None:
        self._run = run
        self._items = items
        #: Items that have had no frame yet, by their index in the request.
        self.waiting = dict(enumerate(items))
        self.frames = FrameReader(max((item.size_bytes for item in items), default=0))
        self._group: list[tuple[Item, Buffer]] = []
        self._group_bytes = 0
        #: Bytes of the incomplete frame that were told of already.
        self._told = 0

    def request(self) -> bytes:
        """What is asked for."""
        return wire.encode([asked(item) for item in self._items])

    async def feed(self, chunk: bytes) -> None:
        """Take in what came.

        Raises:
            SourceInvalid: it is not what was asked for.
        """
        for frame in self.frames.feed(chunk):
            self._take(frame)
            if len(self._group) >= _GROUP_ITEMS or self._group_bytes >= _GROUP_BYTES:
                await self.stage()
        partial = self.frames.partial
        if partial is not None and partial[0] in self.waiting:
            self._run.arrived(self.waiting[partial[0]], partial[1] - self._told)
            self._told = partial[1]

    def _take(self, frame: Frame) -> None:
        item = self.waiting.pop(frame.head.item, None)
        if item is None:
            raise SourceInvalid(f"bundle: a frame for item {frame.head.item}, which nobody waits for")
        told, self._told = self._told, 0
        if frame.head.code:
            self._run.refused(item, spoken(frame.head.code, frame.head.message))
            return
        size_bytes = len(frame.body)
        self._run.arrived(item, size_bytes - told)
        if size_bytes > item.size_bytes or (item.exact and size_bytes < item.size_bytes):
            message = f"{item.part} of {item.name!a}: the source sends {size_bytes} bytes, not {item.size_bytes}"
            self._run.refused(item, SizeMismatch(f"{message} as announced"))
            return
        self._group.append((item, frame.body))
        self._group_bytes += size_bytes

    async def stage(self) -> None:
        """Put the whole items received so far into staging."""
        group, self._group, self._group_bytes = self._group, [], 0
        if group:
            await self._run.stage(group)
