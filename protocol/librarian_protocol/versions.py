"""The order in which a register's states win (docs/events.md).

Each fact is a register written by one site. An entry carries the whole new state, and wins if and only if its version
is greater. It never depends on the old value, so entries may be applied in any order.
"""

from __future__ import annotations

from typing import NamedTuple


class Version(NamedTuple):
    """Of the entry that wrote a state. Compares as docs/events.md orders a site's entries."""

    epoch: int
    incarnation: str
    seq: int
