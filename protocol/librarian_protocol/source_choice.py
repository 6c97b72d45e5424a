"""Chooses which of several ways a transfer takes next: from which site, by which adapter, and why. Pure.

A way that fails is given up for the next one after ``FALL_BACK_AFTER`` failures in a row; after the last one it is the
first one's turn again. Failures are counted by the transfer; a success, or a person, sets them to 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from librarian_protocol.wanted import Source

#: Less than the patience with reasons that end in a doubt: an adapter that spoils bytes makes nobody doubt a source.
FALL_BACK_AFTER = 2


class Choice(msgspec.Struct, frozen=True):
    """One way, and why it was taken, for people."""

    source: Source
    why: str


def choose(
    ways: Sequence[Source], *, size_bytes: int, attempts: int, last: str, min_bytes: Mapping[str, int]
) -> Choice:
    """The next way.

    Args:
        ways: at least one, in the order in which to try them; those of one adapter may be of several sites.
        size_bytes: of the file or book.
        attempts: failures in a row.
        last: what went wrong the last time; "" where nothing did.
        min_bytes: by adapter, below which size another one is taken, where there is one.
    """
    names = list(dict.fromkeys(way.offer.name for way in ways))
    usable = [name for name in names if size_bytes >= min_bytes.get(name, 0)] or names
    turn = attempts // FALL_BACK_AFTER
    name = usable[turn % len(usable)]
    of_it = [way for way in ways if way.offer.name == name]
    # Failures in a row go round among the sites.
    source = of_it[attempts % len(of_it)]
    if turn and len(usable) > 1:
        why = f"its turn after {attempts} failures in a row; the last one: {last or 'unknown'}"
    elif len(names) == 1:
        why = "the only adapter that both sites have"
    elif name != names[0]:
        why = f"{names[0]} is for files of {min_bytes[names[0]]:,} bytes or more (adapters.limits)"
    else:
        why = "the first in adapters.order that both sites have"
    return Choice(source, f"{name}: {why}"[:1024])
