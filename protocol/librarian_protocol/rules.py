"""Decides which rules of the mesh count: what is to be kept, and what nobody may evict (docs/events.md). Pure.

Declarations and withdrawals are sets that only grow, and no order between sites matters. So all sites with the same
entries get the same result.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TypeVar

import msgspec

from librarian_protocol import globs, wire
from librarian_protocol.entries import EntryId
from librarian_protocol.errors import ArgumentInvalid
from librarian_protocol.names import Name


class Keep(msgspec.Struct, frozen=True, kw_only=True):
    """At least so many good instances are left of a file whose name matches."""

    id: EntryId
    match: str
    instances: int
    domains: int
    role: str | None
    reason: str
    #: When it was declared; for people.
    at: str


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """A file whose name matches is evicted by nobody."""

    id: EntryId
    match: str
    #: Seconds since 1970; None where only a withdrawal ends it.
    until: int | None
    reason: str
    at: str


Rule = TypeVar("Rule", Keep, Hold)


def in_force(declared: Iterable[Rule], superseded: Collection[EntryId]) -> list[Rule]:
    """The declarations that no withdrawal names, in the order of their ids.

    ``superseded`` is what the withdrawals of the same noun name. A withdrawal may be known before what it names.
    """
    return sorted((rule for rule in declared if rule.id not in superseded), key=lambda rule: key_of(rule.id))


def is_over(hold: Hold, now_s: float) -> bool:
    """Whether its time has passed, by the clock of the site that asks."""
    return hold.until is not None and hold.until <= now_s


def matching(rules: Iterable[Rule], name: Name) -> Sequence[Rule]:
    """Those that are about a file of this name."""
    return [rule for rule in rules if globs.matches(rule.match, name)]


def key_of(entry: EntryId) -> tuple[str, str, int]:
    """What orders ids."""
    return entry.site, entry.incarnation, entry.seq


# ---- ids as text -------------------------------------------------------------------------------------------


def text_of(entry: EntryId) -> str:
    """``SITE/INCARNATION/SEQ``."""
    return f"{entry.site}/{entry.incarnation}/{entry.seq}"


def id_of(text: str) -> EntryId:
    """The id that :func:`text_of` wrote.

    Raises:
        ArgumentInvalid: it is none.
    """
    site, _, rest = text.partition("/")
    incarnation, _, seq = rest.partition("/")
    if seq.isascii() and seq.isdecimal():
        try:
            return _ID.decode(wire.encode({"site": site, "incarnation": incarnation, "seq": int(seq)}))
        except wire.NOT_DECODABLE:
            pass
    raise ArgumentInvalid(
        f"{text!a} is not the id of an entry", hint="it is SITE/INCARNATION/NUMBER, as `list` shows it"
    )


_ID = wire.decoder(EntryId)
