"""Letters by which a site has holders of files say how their instances stand. JSON; docs/events.md.

A holder that is away answers when it is back. A question may come twice: the answer is the same, or a newer one.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from librarian_protocol import wire
from librarian_protocol.digests import Digest
from librarian_protocol.entries import MAX_INTEGER, Label, SizeBytes, StoreId, Text
from librarian_protocol.errors import SegmentInvalid
from librarian_protocol.names import Name

#: The verbs.
VERIFY = "verify"
VERIFIED = "verified"
#: Files in one question, and results in one answer: names of 1 KiB fit into a letter (192 KiB).
MOST_FILES = 32
MOST_RESULTS = 48

T = TypeVar("T")


class Outcome(StrEnum):
    """How an instance stands."""

    RIGHT = "right"
    BAD = "bad"
    #: Nothing is said of the bytes: the store is away or does not answer, or another file has the name.
    UNREAD = "unread"
    #: The site does not hold it any more.
    ABSENT = "absent"


class AskedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file whose instances are asked for."""

    name: Name
    digest: Digest


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Body of the letter ``verify``: how do the instances of these files stand?"""

    #: Named in the answers.
    inquiry: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}(?!\n)$")]
    #: Which part of the inquiry this is.
    part: Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
    #: Read every byte now; else say what was found last, and look at names and sizes.
    fresh: bool
    files: Annotated[list[AskedFile], Meta(min_length=1, max_length=MOST_FILES)]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How one instance stands."""

    name: Name
    digest: Digest
    #: None where the site holds none.
    store: StoreId | None
    label: Label | None
    outcome: Outcome
    #: As they are now, where that is known.
    size_bytes: SizeBytes | None
    found: Digest | None
    #: When it was read, by that site's clock; "" for never.
    at: Annotated[str, Meta(max_length=40)]
    #: Whether it was read for this question.
    fresh: bool
    message: Text


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Body of the letter ``verified``: some results of one part; ``done`` is the last of them."""

    inquiry: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}(?!\n)$")]
    part: Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
    done: bool
    results: Annotated[list[Result], Meta(max_length=MOST_RESULTS)]


_QUESTION, _ANSWER = wire.decoder(Question), wire.decoder(Answer)


def question_of(body: bytes | msgspec.Raw) -> Question:
    """Decode a letter's body.

    Raises:
        SegmentInvalid: it is none.
    """
    return _decoded(_QUESTION, body)


def answer_of(body: bytes | msgspec.Raw) -> Answer:
    """Likewise."""
    return _decoded(_ANSWER, body)


def _decoded(decoder: msgspec.json.Decoder[T], body: bytes | msgspec.Raw) -> T:
    try:
        return decoder.decode(bytes(body))
    except wire.NOT_DECODABLE as exc:
        raise SegmentInvalid(f"a letter about instances does not decode: {wire.why(exc)}") from exc
