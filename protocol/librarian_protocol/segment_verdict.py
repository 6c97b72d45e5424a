"""Decides what to do with a segment that arrived: the rules of docs/events.md, as one function of what is held.

Its signature and form were checked before (:func:`librarian_protocol.authenticity.opened`).
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from librarian_protocol.segments import NO_HASH, Segment

#: How many segments of one origin are held unapplied beyond a gap before pulling from it stops.
MAX_HELD = 1000
#: By how much an epoch may be greater than the one before it. A start takes one more than the greatest it knows: were
#: any number believed, one entry could name the last one there is, and nobody could begin another.
MAX_EPOCH_STEP = 1 << 32


class Verdict(StrEnum):
    """What the receiver does."""

    APPLY = "apply"
    #: Held already: a duplicate, however late.
    IGNORE = "ignore"
    #: Its predecessor is missing: keep it unapplied and get the missing range.
    HOLD = "hold"
    #: Another segment stands at its place: both are proof, nothing from there on is applied.
    EQUIVOCATION = "equivocation"
    #: It names a predecessor that is held but does not end where this one begins, or is later in epoch.
    BROKEN = "broken"
    #: Its key ended before: nothing of it is kept. Otherwise anyone who has that key could void the site's new journal.
    ENDED = "ended"
    #: Its key ended, and what it ended at is not here: kept, and applied when it turns out to be of that past.
    ASIDE = "aside"


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A segment of the same site that is held."""

    hash: str
    epoch: int
    incarnation: str
    last_seq: int
    #: False for one that is itself held beyond a gap.
    applied: bool


def judge(
    segment: Segment,
    segment_hash: str,
    *,
    at_place: str | None,
    predecessor: Place | None,
    void: bool,
    beyond: bool = False,
) -> Verdict:
    """Decide by what is held of that site.

    ``at_place`` is the hash of the segment held at the same ``(incarnation, first_seq)``; ``predecessor`` is
    the held segment whose hash this one names as ``prev``; ``void`` says that an equivocation of this
    incarnation is known, at or before this place; ``beyond``, that its key ended before it.
    """
    if beyond:
        return Verdict.ENDED
    if at_place is not None:
        return Verdict.IGNORE if at_place == segment_hash else Verdict.EQUIVOCATION
    if void:
        return Verdict.HOLD
    if segment.prev == NO_HASH:
        return Verdict.APPLY if begins(segment.epoch) else Verdict.BROKEN
    if predecessor is None:
        return Verdict.HOLD
    if not continues(predecessor, segment.epoch, segment.incarnation, segment.first_seq):
        return Verdict.BROKEN
    return Verdict.APPLY if predecessor.applied else Verdict.HOLD


def begins(epoch: int) -> bool:
    """Whether a first segment may be of that epoch."""
    return epoch <= MAX_EPOCH_STEP


def continues(predecessor: Place, epoch: int, incarnation: str, first_seq: int) -> bool:
    """Whether a segment that begins there goes on from the one that it names as its predecessor."""
    if predecessor.last_seq + 1 != first_seq:
        return False
    if predecessor.incarnation == incarnation:
        return predecessor.epoch == epoch
    return 0 < epoch - predecessor.epoch <= MAX_EPOCH_STEP
