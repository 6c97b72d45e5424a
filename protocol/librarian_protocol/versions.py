"""The order in which a register's states win (docs/events.md).

Each fact is a register written by one site; an entry carries the whole new state and wins iff its version is
greater. Never conditional on the old value: that is what makes applying commute.
"""

from __future__ import annotations

from typing import NamedTuple


class Version(NamedTuple):
    """Of the entry that wrote a state. Compares as docs/events.md orders a site's entries."""

    epoch: int
    incarnation: str
    seq: int


def wins(new: Version, held: Version | None) -> bool:
    """Whether a state of version ``new`` replaces one of version ``held``."""
    return held is None or new > held
