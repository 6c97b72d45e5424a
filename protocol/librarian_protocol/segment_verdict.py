"""What to do with a segment that arrived: the rules of docs/events.md, as one function of held facts.

Its signature and form were checked before (:func:`librarian_protocol.segments.open_signed`).
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from librarian_protocol.segments import NO_HASH, Segment

#: How many segments of one origin are held unapplied beyond a gap before pulling from it stops.
MAX_HELD = 1000


class Verdict(StrEnum):
    """What the receiver does."""

    APPLY = "apply"
    #: Held already: a duplicate, however late.
    IGNORE = "ignore"
    #: What comes before it is missing: keep it unapplied and get the missing range.
    HOLD = "hold"
    #: Another segment stands at its place: both are proof, nothing from there on is applied.
    EQUIVOCATION = "equivocation"
    #: It names a predecessor that is held but does not end where this one begins, or is later in epoch.
    BROKEN = "broken"
    #: Beyond the cutoff of its site: nothing is kept of it. Whoever has its old key could void its new journal else.
    ENDED = "ended"


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
    incarnation is known, at or before this place; ``beyond``, that the roster ended its site's journal before it.
    """
    if beyond:
        return Verdict.ENDED
    if at_place is not None:
        return Verdict.IGNORE if at_place == segment_hash else Verdict.EQUIVOCATION
    if void:
        return Verdict.HOLD
    if segment.prev == NO_HASH:
        return Verdict.APPLY
    if predecessor is None:
        return Verdict.HOLD
    if predecessor.last_seq + 1 != segment.first_seq:
        return Verdict.BROKEN
    same = predecessor.incarnation == segment.incarnation
    if (same and predecessor.epoch != segment.epoch) or (not same and predecessor.epoch >= segment.epoch):
        return Verdict.BROKEN
    return Verdict.APPLY if predecessor.applied else Verdict.HOLD
