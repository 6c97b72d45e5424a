"""The past of a segment: all its predecessors, by the hashes that segments name.

A key that ended counts for the past of the segments at which it ended, and for nothing else (docs/events.md). Hashes
cannot be chosen, so whoever has the key can add nothing to that past: not by low numbers, not by a great epoch. The
past is decided by what it says, so it is the same whatever came first; but as long as a part of it has not arrived, it
cannot be told of every segment whether it belongs to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from librarian_protocol.entries import Cutoff
from librarian_protocol.segments import NO_HASH


class End(msgspec.Struct, frozen=True):
    """Where a key ended: these segments and their past count under it. None: nothing does."""

    tips: tuple[Cutoff, ...]

    @property
    def hashes(self) -> frozenset[str]:
        """Of the segments."""
        return frozenset(tip.hash for tip in self.tips)

    @property
    def last_seq(self) -> int:
        """No segment that reaches behind this number is in the past; 0 where nothing is."""
        return max((tip.seq for tip in self.tips), default=0)


class Past(StrEnum):
    """Whether a segment is in the past of an end."""

    YES = "yes"
    NO = "no"
    #: A part of that past is missing here: it may be.
    UNKNOWN = "unknown"


def past(segment_hash: str, last_seq: int, end: End, *, followed: bool, whole: bool) -> Past:
    """Whether a segment that arrives is in the past of an end.

    ``followed``: a segment that is known to be in that past names it as its predecessor. ``whole``: all of that past is
    held. A segment that is held already is not asked about.
    """
    if segment_hash in end.hashes or followed:
        return Past.YES
    return Past.NO if whole or last_seq > end.last_seq else Past.UNKNOWN


class Walk:
    """Goes through the segments of one journal, each before its predecessor, and returns which are in the past of an
    end.

    It keeps as many hashes as there are tips, however long the journal is.
    """

    def __init__(self, ends: Iterable[End]) -> None:
        self._awaited = {end: set(end.hashes) for end in ends}

    def step(self, segment_hash: str, prev: str) -> frozenset[End]:
        """The next segment: the ends in whose past it is."""
        found = [end for end, awaited in self._awaited.items() if segment_hash in awaited]
        for end in found:
            self._awaited[end].remove(segment_hash)
            self._awaited[end].add(prev)
        return frozenset(found)

    def lacking(self, end: End) -> bool:
        """After the last segment: whether a part of the end's past was not among them."""
        return bool(self._awaited[end] - {NO_HASH})
