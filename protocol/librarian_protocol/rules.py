"""Decides which rules of the mesh count: what is to be kept, and what nobody may evict (docs/events.md). Pure.

Declarations and withdrawals are sets that only grow, and no order between sites matters. So all sites with the same
entries get the same result.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from librarian_protocol import globs, wire
from librarian_protocol.display import safe, utc
from librarian_protocol.entries import EntryId, HoldDeclared, KeepDeclared, StoreRole
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


# ---- what a person declares ---------------------------------------------------------------------------------

#: Instances that a rule can require.
MOST_INSTANCES = 1000
#: Characters of a reason.
MOST_SAID = 1024


def keep_of(*, match: str, instances: int, domains: int, role: str | None, reason: str) -> KeepDeclared:
    """The entry of a new keep rule.

    Raises:
        ArgumentInvalid: the glob matches nothing, or the rule cannot be fulfilled.
    """
    if not 1 <= domains <= instances <= MOST_INSTANCES:
        raise ArgumentInvalid(
            f"{instances} instances in {domains} failure domains cannot be required",
            hint=f"from 1 to {MOST_INSTANCES} instances, in as many domains at most",
        )
    if role is not None and role != StoreRole.ARCHIVE:
        raise ArgumentInvalid(
            f"a rule cannot ask for a store of role {role[:80]!a}", hint=f"only for one of role {StoreRole.ARCHIVE}"
        )
    said = said_of(reason) if reason else ""
    return KeepDeclared(match=globs.check(match), instances=instances, domains=domains, role=role, reason=said)


def hold_of(*, match: str, until: int | None, reason: str, now_s: float) -> HoldDeclared:
    """The entry of a new hold.

    Raises:
        ArgumentInvalid: the glob matches nothing, there is no reason, or it would be over already.
    """
    if until is not None and until <= now_s:
        raise ArgumentInvalid(f"{moment(until)} has passed", hint="give a later moment, or none")
    return HoldDeclared(match=globs.check(match), until=until, reason=said_of(reason))


def said_of(reason: str) -> str:
    """The reason, without what would disturb a terminal.

    Raises:
        ArgumentInvalid: there is none, or it is too long.
    """
    said = safe(reason.strip())
    if not said or len(said) > MOST_SAID:
        raise ArgumentInvalid(
            f"a reason of 1 to {MOST_SAID} characters is needed", hint="it is kept in the journal, and others read it"
        )
    return said


def until_of(text: str) -> int:
    """Seconds since 1970 of a date, or of a date and time; UTC unless it says otherwise.

    Raises:
        ArgumentInvalid: it is none.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentInvalid(f"{text[:40]!a} is no moment", hint="write 2027-01-31, or 2027-01-31T12:00:00Z") from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())


def moment(until: int) -> str:
    """As people read it; of a moment beyond the calendar, the number of seconds."""
    try:
        return utc(until)
    except (ValueError, OverflowError, OSError):
        return f"{until} s after 1970"


def in_words(rule: Keep | Hold) -> str:
    """What the rule asks."""
    if isinstance(rule, Hold):
        return "nobody may evict it" + ("" if rule.until is None else f" until {moment(rule.until)}")
    stores = f", one of them in a store of role {rule.role}" if rule.role else ""
    instances = "1 good instance" if rule.instances == 1 else f"{rule.instances} good instances"
    domains = "1 failure domain" if rule.domains == 1 else f"{rule.domains} failure domains"
    return f"an eviction must leave {instances} in {domains}{stores}"


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
