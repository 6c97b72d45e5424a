"""Pauses for maintenance: what a person has put off for a while, and when that is over. Pure.

A pause is a convenience: nothing relies on it for safety, and its end is decided by clocks. It is over when the time
that was given has come, on the wall clock or on the one that does not jump; a clock that was set back makes it end, for
nothing else would tell when it ends.
"""

from __future__ import annotations

import msgspec

from librarian_protocol import lengths
from librarian_protocol.display import safe, utc
from librarian_protocol.errors import ArgumentInvalid
from librarian_protocol.names import SiteName

#: Nothing is taken in from drop directories.
INTAKE = "intake"
#: Nothing is brought into this site's stores.
TRANSFERS = "transfers"
#: Nothing goes to or from one other site; its name follows.
PEER = "peer:"
#: The longest pause, seconds.
MOST_S = 30 * 86400
#: Characters of a reason, and of whoever gave it.
MOST_SAID = 256
#: By so much a wall clock may be set back and a pause go on, seconds.
_SET_BACK_S = 300


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """One pause, as the catalog keeps it."""

    #: ``intake``, ``transfers`` or ``peer:NAME``.
    what: str
    reason: str
    #: Who said so.
    by: str
    #: Seconds since 1970, by this site's clock.
    began: int
    until: int


def what_of(text: str) -> str:
    """What is to be paused, checked.

    Raises:
        ArgumentInvalid: it is none of the three; the name after ``peer:`` is no site's name.
    """
    if text in {INTAKE, TRANSFERS}:
        return text
    if text.startswith(PEER):
        return of_peer(SiteName.parse(text.removeprefix(PEER)))
    raise ArgumentInvalid(f"{text[:80]!a} cannot be paused", hint="give intake, transfers or peer:NAME")


def of_peer(site: SiteName) -> str:
    """What a pause of that site is called."""
    return f"{PEER}{site}"


def peer_of(what: str) -> SiteName | None:
    """The site that is paused; None where it is something else."""
    return SiteName(what.removeprefix(PEER)) if what.startswith(PEER) else None


def length_s(text: str) -> int:
    """Seconds of ``90s``, ``45m``, ``2h``, ``1d12h``.

    Raises:
        ArgumentInvalid: it is written otherwise, or no length that a pause may have.
    """
    return check_length(lengths.seconds_of(text))


def check_length(seconds: int) -> int:
    """The same.

    Raises:
        ArgumentInvalid: a pause may not be so short, or so long.
    """
    if not 1 <= seconds <= MOST_S:
        raise ArgumentInvalid(
            f"a pause of {seconds} s is too {'long' if seconds > 0 else 'short'}: from 1 s to {MOST_S // 86400} days",
            hint="set it again before it ends; what should never go on is taken out of the configuration",
        )
    return seconds


def made(what: str, *, reason: str, by: str, seconds: int, now: int) -> Pause:
    """A pause that begins now.

    Raises:
        ArgumentInvalid: see :func:`what_of` and :func:`check_length`; or there is no reason, or a very long one.
    """
    if not reason.strip() or len(reason) > MOST_SAID:
        raise ArgumentInvalid(
            f"a pause needs a reason of at most {MOST_SAID} characters", hint="others must know why nothing goes on"
        )
    return Pause(
        what=what_of(what),
        reason=safe(reason.strip()),
        by=safe(by[:MOST_SAID]) or "somebody",
        began=now,
        until=now + check_length(seconds),
    )


def left_s(pause: Pause, now: int) -> int:
    """Seconds that it still holds by the wall clock; never more than it was made for, and 0 where it is over."""
    if now < pause.began - _SET_BACK_S:
        return 0
    return max(min(pause.until - now, pause.until - pause.began), 0)


def describe(pause: Pause) -> str:
    """In words, behind what is paused: ``paused until 2026-11-21T03:05:10Z by anna: new disks``."""
    return f"paused until {utc(pause.until)} by {pause.by}: {pause.reason}"
