"""Letters by which a site that can be dialled asks one that cannot to push. JSON; docs/adapters/http.md."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from librarian_adapters.http.bundle import MAX_ITEMS, Asked
from librarian_protocol import wire
from librarian_protocol.entries import MAX_INTEGER
from librarian_protocol.errors import ArgumentInvalid

PUSH_ME = "push-me"
PUSH_REFUSED = "push-refused"
#: Followed by the ticket.
PUSH_TARGET = "/data/v1/push/"
#: What the items of one letter may take, so that it is not larger than a letter may be (192 KiB).
MAX_LETTER_BYTES = 150_000

Ticket = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}(?!\n)$")]


class PushMe(msgspec.Struct, frozen=True, kw_only=True):
    """Bring these with this ticket: one item as its bytes from ``begin`` on, or several as a bundle."""

    ticket: Ticket
    #: Seconds since 1970; afterwards the ticket is not worth trying.
    expires: Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
    items: Annotated[list[Asked], Meta(min_length=1, max_length=MAX_ITEMS)]
    bundle: bool
    begin: Annotated[int, Meta(ge=0, le=MAX_INTEGER)] = 0


class PushRefused(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing will come for this ticket: the code of a TransferError, and the reason in words."""

    ticket: Ticket
    code: Annotated[str, Meta(max_length=8)]
    message: Annotated[str, Meta(max_length=500)]


_PUSH_ME = wire.decoder(PushMe)
_PUSH_REFUSED = wire.decoder(PushRefused)


def decode_push_me(body: bytes | msgspec.Raw) -> PushMe:
    """The letter's meaning.

    Raises:
        ArgumentInvalid: it has none.
    """
    try:
        asked = _PUSH_ME.decode(body)
    except wire.NOT_DECODABLE as exc:
        raise ArgumentInvalid(f"letter {PUSH_ME!r}: {wire.why(exc)}") from exc
    if not asked.bundle and len(asked.items) != 1:
        raise ArgumentInvalid(f"letter {PUSH_ME!r}: {len(asked.items)} items, and no bundle")
    return asked


def decode_push_refused(body: bytes | msgspec.Raw) -> PushRefused:
    """The letter's meaning.

    Raises:
        ArgumentInvalid: it has none.
    """
    try:
        return _PUSH_REFUSED.decode(body)
    except wire.NOT_DECODABLE as exc:
        raise ArgumentInvalid(f"letter {PUSH_REFUSED!r}: {wire.why(exc)}") from exc
