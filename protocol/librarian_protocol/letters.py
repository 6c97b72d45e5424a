"""Letters: a site of access ``callback`` gets them in place of journals, with the entries that concern it.

The letters of one sender to one recipient are a chain of their own: each names its number and the hash of the one
before, so a lost one is noticed, and everything is told again. Their entries are the sender's own, with the numbers
that they have in its journal: each is a register's state like any other, so order and repetition do not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated

import msgspec
from blake3 import blake3
from msgspec import Meta

from librarian_protocol import mail, segments, wire
from librarian_protocol.entries import (
    Entry,
    FileEntry,
    HexHash,
    IncarnationId,
    Seq,
    SiteAdmitted,
    SiteAnnounced,
    SiteRekeyed,
    SiteRevoked,
    StoreDeclared,
    StoreRetired,
)
from librarian_protocol.errors import SegmentInvalid
from librarian_protocol.names import Name, SiteName
from librarian_protocol.segments import NO_HASH, Segment

#: The letters' verbs: what is told, and the request that all of it be told again.
TELL = "tell"
TELL_AGAIN = "tell-again"
#: Of a letter's body: below what a letter may have.
MAX_TELLING_BYTES = 128 * 1024
#: Entries of one letter.
MOST_ENTRIES = 5000
#: What every site must know to check signatures and to fetch files. Subscriptions are not told to callback sites.
_FOR_ALL = (SiteAdmitted, SiteRevoked, SiteRekeyed, SiteAnnounced, StoreDeclared, StoreRetired)


class LetterBody(msgspec.Struct, frozen=True, kw_only=True):
    """A letter's body: entries of one kind and one incarnation of the sender."""

    number: Seq
    #: Hash of the body before; 64 zeros in the first.
    prev: HexHash
    #: Everything is told again, starting with this letter: earlier letters are not needed.
    begins: bool = False
    epoch: Seq
    incarnation: IncarnationId
    kind: Annotated[str, Meta(max_length=64)]
    entries: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=MOST_ENTRIES)]


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """How far a chain has come, at either end."""

    number: int = 0
    hash: str = NO_HASH
    #: False at the recipient while something is missing.
    whole: bool = True


_TELLING = wire.decoder(LetterBody)


def decode(body: bytes) -> LetterBody:
    """A letter's body.

    Raises:
        SegmentInvalid: it is none.
    """
    return mail.body_of(TELL, _TELLING, body)


def hash_of(body: bytes) -> str:
    """The hash by which the next letter names this one."""
    return blake3(body).hexdigest()


def concerns(entry: Entry, is_offered: Callable[[Name], bool]) -> bool:
    """Whether this entry of the sender concerns the recipient."""
    if isinstance(entry, FileEntry):
        return is_offered(entry.name)
    return isinstance(entry, _FOR_ALL)


def tellings(
    told: Told, segment: Segment, is_offered: Callable[[Name], bool], *, begins: bool
) -> Iterator[tuple[bytes, Told]]:
    """The letters about one segment of the sender's journal, mostly none or one; with where the chain is behind each.

    ``begins``: the first of them is the first of everything.
    """
    raws = [
        raw
        for raw, entry in zip(segment.entries, segments.entries_of(segment) or (), strict=False)
        if isinstance(entry, Entry) and concerns(entry, is_offered)
    ]
    for part in mail.parts(raws, lambda raw: len(bytes(raw)), MAX_TELLING_BYTES, MOST_ENTRIES):
        body = wire.encode(
            LetterBody(
                number=told.number + 1,
                prev=told.hash,
                begins=begins,
                epoch=segment.epoch,
                incarnation=segment.incarnation,
                kind=segment.kind,
                entries=list(part),
            )
        )
        told = Told(number=told.number + 1, hash=hash_of(body))
        begins = False
        yield body, told


def entries_of(telling: LetterBody, sender: SiteName) -> list[Entry | SegmentInvalid] | None:
    """As :func:`librarian_protocol.segments.entries_of`."""
    return segments.entries_of(
        Segment(
            v=segments.VERSION,
            site=sender,
            epoch=telling.epoch,
            incarnation=telling.incarnation,
            first_seq=1,
            prev=NO_HASH,
            kind=telling.kind,
            entries=telling.entries,
        )
    )


def receive(told: Told, body: bytes, telling: LetterBody) -> Told | None:
    """Where the recipient's chain is behind this letter; None if it was had before.

    What it says is applied in any case. Where something is missing, the chain is whole again once all was told anew.
    """
    if telling.number <= told.number:
        return None
    follows = telling.number == told.number + 1 and telling.prev == told.hash
    whole = telling.begins or (told.whole and follows)
    return Told(number=telling.number, hash=hash_of(body), whole=whole)
