"""Bundles: many small items as one byte stream. Sans I/O; both ends of the http adapter use it.

A bundle is asked for with a JSON list of :class:`Asked`, and answered with one *frame* for each, in any order::

    frame  = length header body
    length = 4 bytes, big-endian: bytes of the header
    header = UTF-8 JSON: {"item": <index in the list>, "size_bytes": <bytes of the body>}
             or, with no body, {"item": <index>, "code": "E301", "message": "..."}

There is no last frame: the stream's own end is enough, because every item asked for must have had its answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec
from msgspec import Meta

from librarian_adapters.contract import Buffer, Part
from librarian_protocol import wire
from librarian_protocol.digests import Digest
from librarian_protocol.entries import MAX_INTEGER
from librarian_protocol.errors import ArgumentInvalid, SourceInvalid
from librarian_protocol.names import MemberPath

BUNDLE_TARGET = "/data/v1/bundle"
#: Followed by the file's digest; the query has ``part`` and, for a member or a list of attributes, ``member``.
BYTES_TARGET = "/data/v1/bytes/"
BUNDLE_TYPE = "application/vnd.librarian.bundle"
BYTES_TYPE = "application/octet-stream"

#: The most items in one bundle.
MAX_ITEMS = 1000
#: The most bytes of one item: either end holds one item in memory.
MAX_ITEM_BYTES = 8 << 20
#: The most bytes of a request; 1000 members with the longest paths, each character escaped, fit.
MAX_REQUEST_BYTES = 4 << 20
MAX_HEADER_BYTES = 4096
#: Messages are cut to this, so that a header is never too large.
MAX_MESSAGE_CHARACTERS = 500

_LENGTH_BYTES = 4
_Count = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One item that the destination asks for."""

    #: The file's digest; of a book, its own, for the manifest and members too.
    digest: Digest
    part: Part
    #: Of attributes: hex of the list's digest.
    member: MemberPath | None = None
    #: The size that was announced, or for a manifest the most that is accepted.
    size_bytes: _Count


class Head(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A frame's header."""

    item: Annotated[int, Meta(ge=0, lt=MAX_ITEMS)]
    size_bytes: _Count = 0
    #: Code of a :class:`TransferError`; "" where the body follows.
    code: Annotated[str, Meta(max_length=8)] = ""
    message: str = ""


class Frame(msgspec.Struct, frozen=True):
    """A whole frame."""

    head: Head
    body: bytes


_ASKED = wire.decoder(list[Asked])
_HEAD = wire.decoder(Head)


def decode_request(body: bytes) -> list[Asked]:
    """What a bundle request asks for.

    Raises:
        ArgumentInvalid: it is not such a list, or too long.
    """
    try:
        asked = _ASKED.decode(body)
    except wire.NOT_DECODABLE as exc:
        raise ArgumentInvalid(f"bundle request: {wire.why(exc)}") from exc
    if len(asked) > MAX_ITEMS:
        raise ArgumentInvalid(f"bundle request: {len(asked)} items, {MAX_ITEMS} are the most")
    return asked


def encode_frame(item: int, body: Buffer) -> bytes:
    """The frame that brings an item's bytes."""
    return _encoded(Head(item=item, size_bytes=len(body))) + body


def encode_error(item: int, code: str, message: str) -> bytes:
    """The frame that says why an item does not come."""
    return _encoded(Head(item=item, code=code, message=message[:MAX_MESSAGE_CHARACTERS]))


def _encoded(head: Head) -> bytes:
    header = wire.encode(head)
    return len(header).to_bytes(_LENGTH_BYTES, "big") + header


class FrameReader:
    """Cuts a stream into frames. It holds at most one header, one body, and the chunk just fed."""

    def __init__(self, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._held = bytearray()
        self._head: Head | None = None

    def feed(self, chunk: Buffer) -> Iterator[Frame]:
        """Frames completed by this chunk, in order. Take them all before the next call.

        Raises:
            SourceInvalid: the stream is not made of frames, or one is larger than allowed. It cannot be fed on.
        """
        self._held += chunk
        used = 0
        try:
            while True:
                if self._head is None:
                    length = int.from_bytes(self._held[used : used + _LENGTH_BYTES], "big")
                    if len(self._held) - used < _LENGTH_BYTES:
                        return
                    if not 0 < length <= MAX_HEADER_BYTES:
                        raise SourceInvalid(f"bundle: a frame's header has {length} bytes")
                    begin = used + _LENGTH_BYTES
                    if len(self._held) - begin < length:
                        return
                    self._head = self._decoded(bytes(self._held[begin : begin + length]))
                    used = begin + length
                end = used + self._head.size_bytes
                if len(self._held) < end:
                    return
                frame = Frame(self._head, bytes(self._held[used:end]))
                self._head = None
                used = end
                yield frame
        finally:
            del self._held[:used]

    def _decoded(self, header: bytes) -> Head:
        try:
            head = _HEAD.decode(header)
        except wire.NOT_DECODABLE as exc:
            raise SourceInvalid(f"bundle: a frame's header does not decode: {wire.why(exc)}") from exc
        if head.size_bytes > self._max_body_bytes:
            raise SourceInvalid(
                f"bundle: a frame has {head.size_bytes} bytes, {self._max_body_bytes} are the most asked for"
            )
        if head.code and head.size_bytes:
            raise SourceInvalid("bundle: a frame has both an error and bytes")
        return head

    @property
    def partial(self) -> tuple[int, int] | None:
        """Of the frame whose body is still coming: index of its item, bytes that are here."""
        return None if self._head is None else (self._head.item, len(self._held))

    def finish(self) -> None:
        """Say that the stream has ended.

        Raises:
            SourceInvalid: it ended inside a frame.
        """
        if self._held or self._head is not None:
            raise SourceInvalid("bundle: the stream ends inside a frame")
