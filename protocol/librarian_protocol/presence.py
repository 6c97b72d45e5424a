"""Whether another site is there, and whether what it holds counts. Every view asks here (docs/architecture.md). Pure.

Revocation is a fact of the roster: what a revoked site holds counts nowhere. Silence is seen on a clock, so nothing is
decided by it: it is shown, and told to a person, and what a silent site holds counts on.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from librarian_protocol.roster import Member

#: How many heads in a row may be lost.
MISSED = 3
#: How often a site tells its heads that does not say how often: all did so before they said it.
EVERY_S = 30.0


class Presence(StrEnum):
    """How another site is seen."""

    UP = "up"
    #: The bus says that it cannot be read.
    DOWN = "down"
    #: It has not told its heads for three intervals, whatever the bus says: a server answers for sites that are dead.
    SILENT = "silent"
    #: Nothing is known either way.
    UNKNOWN = "unknown"


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """How a site is seen, and why."""

    presence: Presence
    detail: str = ""


def counts(member: Member | None) -> bool:
    """Whether what a site holds and wants counts: it is of the mesh, and not revoked."""
    return member is not None and not member.revoked


def is_declared(member: Member, key: str) -> bool:
    """Whether a store counts whose last declaration ``key`` signed; "" where it is not known who did.

    A site that was admitted anew may have lost its disks: what it declared before counts again as soon as it says so.
    """
    return not key or member.is_of_now(key)


def seen(*, readable: bool | None, why: str, hears_heads: bool, quiet_s: float, every_s: float = EVERY_S) -> Seen:
    """Judge one site.

    ``readable`` is whether its stream answers, by the bus (None: not tried yet), and ``why`` not. ``hears_heads``: this
    site hears what others tell of their heads; a callback site hears letters only, and nobody must write those.
    ``quiet_s``: since it was last heard, or since this site listens; ``every_s``: how often it tells its heads.
    """
    if readable is False:
        return Seen(presence=Presence.DOWN, detail=why)
    quiet = quiet_s > MISSED * every_s
    if quiet and hears_heads:
        detail = f"silent: three times {every_s:g} s have passed without its heads"
        return Seen(presence=Presence.SILENT, detail=detail)
    if readable is None:
        return Seen(presence=Presence.UNKNOWN)
    if quiet:
        return Seen(presence=Presence.UNKNOWN, detail="no letter of late; a callback site hears no heads")
    return Seen(presence=Presence.UP)
