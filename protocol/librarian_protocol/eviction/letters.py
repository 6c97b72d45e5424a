"""The letters of an eviction: a question to the stores of one site, and their answers (docs/events.md). Pure.

A letter may be lost, repeated and late. That is harmless: an answer names the nonce and the round it is for, and an
attempt looks at no answer for another one. Each answer is whole in itself, so that it can be kept as evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated

import msgspec
from msgspec import Meta

from librarian_protocol import mail, wire
from librarian_protocol.digests import Digest
from librarian_protocol.entries import StoreId
from librarian_protocol.errors import SegmentInvalid
from librarian_protocol.eviction.refusal import Declined
from librarian_protocol.eviction.voucher import Round, Vouch
from librarian_protocol.names import Name, SiteName

#: The letters' verbs.
ASK = "evict-ask"
ANSWER = "evict-answer"
#: Files of one batch.
MOST_FILES = 512
#: Bytes of the files of one batch: round 2 reads them all at every voucher.
MOST_BYTES = 64 << 30
#: Of a letter's body: below what a letter may have.
MAX_BODY_BYTES = 128 * 1024

Nonce = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}(?!\n)$")]


class AskedFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a question."""

    name: Name
    digest: Digest


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """The body of :data:`ASK`: the sender wants to give up its instances of these files, in one of its stores."""

    nonce: Nonce
    round: Round
    store: StoreId
    files: Annotated[list[AskedFile], Meta(min_length=1, max_length=MOST_FILES)]


class No(msgspec.Struct, frozen=True, kw_only=True):
    """A store does not vouch for its instance."""

    name: Name
    digest: Digest
    #: "" where the site has none with an instance.
    store: Annotated[str, Meta(pattern=r"^(?:[0-9a-f]{32})?(?!\n)$")]
    #: A value of ``Declined``; a word of a later version is no vouch either.
    why: Annotated[str, Meta(max_length=64)]


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of :data:`ANSWER`: of some of the files that were asked about, or only that it goes on."""

    nonce: Nonce
    round: Round
    vouches: list[Vouch] = []
    declined: list[No] = []


_ASK = wire.decoder(Ask)
_ANSWER = wire.decoder(Answer)


def ask_of(body: bytes) -> Ask:
    """A question.

    Raises:
        SegmentInvalid: it is none.
    """
    return mail.body_of(ASK, _ASK, body)


def answer_of(body: bytes, sender: SiteName) -> Answer:
    """An answer of a site, which vouches for its own stores only.

    Raises:
        SegmentInvalid: it is none, or speaks for another site.
    """
    answer = mail.body_of(ANSWER, _ANSWER, body)
    for vouch in answer.vouches:
        if vouch.site != sender or vouch.nonce != answer.nonce:
            raise SegmentInvalid(f"letter {ANSWER!r} of {sender} vouches for {vouch.site}, or under another nonce")
    return answer


def why_of(no: No) -> Declined | None:
    """The reason; None for one of a later version."""
    try:
        return Declined(no.why)
    except ValueError:
        return None


def asks(nonce: str, round_: Round, store: str, files: Iterable[AskedFile]) -> Iterator[bytes]:
    """The bodies that ask about these files, each small enough for a letter."""
    for part in mail.parts(files, _length, MAX_BODY_BYTES, MOST_FILES):
        yield wire.encode(Ask(nonce=nonce, round=round_, store=store, files=list(part)))


def answers(nonce: str, round_: Round, said: Iterable[Vouch | No]) -> Iterator[bytes]:
    """The bodies that say this, each small enough for a letter."""
    for part in mail.parts(said, _length, MAX_BODY_BYTES, MOST_FILES):
        yield wire.encode(
            Answer(
                nonce=nonce,
                round=round_,
                vouches=[one for one in part if isinstance(one, Vouch)],
                declined=[one for one in part if isinstance(one, No)],
            )
        )


def goes_on(nonce: str, round_: Round) -> bytes:
    """The body that says that the question is worked on."""
    return wire.encode(Answer(nonce=nonce, round=round_))


def _length(item: AskedFile | Vouch | No) -> int:
    return len(wire.encode(item))
