"""What became of a segment in the journal that a site holds."""

from __future__ import annotations

from enum import StrEnum


class JournalState(StrEnum):
    """The state of one segment."""

    #: Its entries count.
    APPLIED = "applied"
    #: It waits for the segments before it.
    HELD = "held"
    #: Its kind is of a later version of the software: it counts, and is applied after an upgrade.
    UNKNOWN = "unknown"
    #: It does not count, and is kept as proof of why.
    VOID = "void"
    #: It does not count: its key ended, and it is not known to be in the past of where the key ended.
    ENDED = "ended"


#: States of segments that count for nothing.
NOT_COUNTING = (JournalState.VOID, JournalState.ENDED)
#: Of what was applied, or will be by a later version.
COUNTING = (JournalState.APPLIED, JournalState.UNKNOWN)
