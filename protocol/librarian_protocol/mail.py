"""Mail: requests to one site that need no record (docs/events.md).

It travels in the sender's own stream beside its journal, signed with the site key and its own prefix, and is answered
by mail; so the two sites need not be up at once. It may be lost, repeated and late: what a verb asks for must be
harmless the second time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from librarian_protocol import wire
from librarian_protocol.errors import SegmentInvalid
from librarian_protocol.keys import Purpose, SiteKey, verify
from librarian_protocol.names import SiteName

T = TypeVar("T")
VERSION = 1
#: As for segments: several fit into one pull of 1 MiB.
MAX_MAIL_BYTES = 192 * 1024


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """One letter. ``body`` is JSON that the verb gives a meaning to."""

    v: int
    sender: SiteName
    to: SiteName
    verb: Annotated[str, Meta(pattern=r"^[a-z][a-z-]{0,31}(?!\n)$")]
    #: 128 random bits in hex: names the letter in answers and in logs.
    id: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}(?!\n)$")]
    at: Annotated[str, Meta(max_length=40)]
    body: msgspec.Raw


_MAIL = wire.decoder(Mail)


def seal(letter: Mail, key: SiteKey) -> tuple[bytes, str]:
    """The payload and its signature.

    Raises:
        SegmentInvalid: it is larger than a letter may be.
    """
    payload = wire.encode(letter)
    if len(payload) > MAX_MAIL_BYTES:
        raise SegmentInvalid(f"a letter of {len(payload)} bytes; {MAX_MAIL_BYTES} are allowed")
    return payload, key.sign(Purpose.MAIL, payload)


def open_signed(payload: bytes, signature: str, *, sender: SiteName, to: SiteName, key: str) -> Mail:
    """Decode a letter that must come from ``sender``, whose key the roster gives as ``key``, and be for ``to``.

    Raises:
        SegmentInvalid: too large, malformed, of another version, or between other sites.
        SignatureInvalid: not signed by that key.
    """
    if len(payload) > MAX_MAIL_BYTES:
        raise SegmentInvalid(f"a letter of {len(payload)} bytes; {MAX_MAIL_BYTES} are allowed")
    verify(key, Purpose.MAIL, payload, signature)
    try:
        letter = _MAIL.decode(payload)
        wire.check_fields(payload)
    except wire.NOT_DECODABLE as exc:
        raise SegmentInvalid(f"a letter does not decode: {wire.why(exc)}") from exc
    if letter.v != VERSION:
        raise SegmentInvalid(f"a letter is of version {letter.v}; this software reads version {VERSION}")
    if (letter.sender, letter.to) != (sender, to):
        raise SegmentInvalid(f"a letter from {letter.sender!r} to {letter.to!r} arrived from {sender!r} at {to!r}")
    return letter


def body_of(verb: str, decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """What the body of a letter says.

    Raises:
        SegmentInvalid: it says nothing that the verb gives a meaning to.
    """
    try:
        return decoder.decode(body)
    except wire.NOT_DECODABLE as exc:
        raise SegmentInvalid(f"letter {verb!r}: {wire.why(exc)}") from exc


def parts(items: Iterable[T], length: Callable[[T], int], most_bytes: int, most: int) -> Iterator[Sequence[T]]:
    """The items in their order, divided so that each part fits into a letter.

    Args:
        items: what is to be said.
        length: bytes of one of them as it is written.
        most_bytes: of one part, with a sign between two items; a part has one item at least.
        most: items of one part.
    """
    part: list[T] = []
    size = 0
    for item in items:
        needed = length(item) + 1
        if part and (size + needed > most_bytes or len(part) == most):
            yield part
            part, size = [], 0
        part.append(item)
        size += needed
    if part:
        yield part
