"""Decides when a store is read again, and how fast. Pure (docs/scrub.md).

A *pass* reads every instance of a store once, the least recently verified first. Passes have numbers, which the catalog
keeps. Clocks only decide when a pass begins and how fast it reads; what a pass has read is known by its number.

Within ``every_s`` every byte is read: a pass of which the instances were read in the order of the one before reads each
of them ``every_s`` later at most, if it begins early enough to take twice as long as planned.
"""

from __future__ import annotations

import re

import msgspec

from librarian_protocol import sizes
from librarian_protocol.errors import ArgumentInvalid
from librarian_protocol.lengths import seconds_of

_DAY_S = 86400
_HOURS = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])")
#: While transfers or intake work, a pass that will be in time reads at this part of its rate.
YIELDING = 0.25
#: A pass is planned to take this many times as long as its bytes at full rate: it yields to other work.
MARGIN = 2.0


class Hours(msgspec.Struct, frozen=True):
    """The hours of the day in which a store is read: seconds after midnight, UTC. ``end`` may be before ``begin``."""

    begin_s: int
    end_s: int

    @property
    def part(self) -> float:
        """Which part of the day they are: more than 0, at most 1."""
        return ((self.end_s - self.begin_s) % _DAY_S or _DAY_S) / _DAY_S

    def closed_s(self, now: int) -> int:
        """Seconds until they begin; 0 while they last. ``now`` is seconds since 1970."""
        since_s = (now - self.begin_s) % _DAY_S
        return 0 if since_s < self.part * _DAY_S else _DAY_S - since_s


ALWAYS = Hours(0, 0)


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What was configured for a store."""

    #: Within this time every byte is read, seconds.
    every_s: int
    #: Bytes a second.
    rate: int
    hours: Hours = ALWAYS
    #: More bad instances than this, found within a pass, freeze the store.
    freeze_at: int = 3

    def needs_s(self, size_bytes: int) -> float:
        """How long it takes to read so much at full rate, closed hours included."""
        return size_bytes / self.rate / self.hours.part


def period_s(text: str) -> int:
    """Seconds of ``30d``, ``36h``, ``1d12h``.

    Raises:
        ArgumentInvalid: it is written otherwise, shorter than a minute or longer than ten years.
    """
    seconds = seconds_of(text)
    if not 60 <= seconds <= 3650 * _DAY_S:
        raise ArgumentInvalid(f"{text!a} is no period for reading again", hint="write 1m to 3650d, such as 30d")
    return seconds


def rate_of(text: str) -> int:
    """Bytes a second of ``50MiB/s``.

    Raises:
        ArgumentInvalid: it is written otherwise, or less than one.
    """
    rate = sizes.bytes_of(text.removesuffix("/s")) if text.endswith("/s") else 0
    if rate < 1:
        raise ArgumentInvalid(f"{text[:40]!a} is no rate", hint="write 50MiB/s")
    return rate


def hours_of(text: str) -> Hours:
    """Those of ``20:00-06:00``, UTC; the whole day where empty.

    Raises:
        ArgumentInvalid: it is written otherwise, or both are the same.
    """
    if not text:
        return ALWAYS
    found = _HOURS.fullmatch(text)
    if found is None:
        raise ArgumentInvalid(f"{text[:40]!a} are no hours of the day", hint="write 20:00-06:00, in UTC")
    begin, begin_m, end, end_m = (int(part) for part in found.groups())
    hours = Hours(begin * 3600 + begin_m * 60, end * 3600 + end_m * 60)
    if hours.begin_s == hours.end_s:
        raise ArgumentInvalid(f"{text!a} begin when they end", hint='write "" for the whole day')
    return hours


class Pass(msgspec.Struct, frozen=True, kw_only=True):
    """A pass over a store, as the catalog keeps it."""

    #: From 1 on.
    number: int
    #: Seconds since 1970.
    began: int
    #: When it ended; None while it goes on.
    ended: int | None = None
    #: Instances without a time of verification were noted: they are read first.
    gathered: bool = False
    #: A person asked for it: it does not keep to the hours.
    asked: bool = False
    files: int = 0
    bytes: int = 0
    #: Instances of the store that were found bad since it began, by it or by others, and since the last thaw.
    bad: int = 0
    #: When this site last told others of it; None: never.
    told: int | None = None


def is_due(last: Pass | None, budget: Budget, size_bytes: int, now: int) -> bool:
    """Whether a pass begins now. ``last`` is the one before, ``size_bytes`` what the store holds, ``now`` since 1970.

    A clock that was set back begins one: it reads too much, never too little.
    """
    if last is None:
        return True
    if last.ended is None:
        return False
    took_s = max(last.ended - last.began, 0)
    lasts_s = max(MARGIN * budget.needs_s(size_bytes), took_s)
    since_s = now - last.began
    return since_s < 0 or since_s >= budget.every_s - lasts_s


class Ages(msgspec.Struct, frozen=True, kw_only=True):
    """Of the instances that a pass has not read yet: seconds since the first and the last of them were verified."""

    first_s: float = 0.0
    last_s: float = 0.0
    #: How much they are.
    left_bytes: int = 0


def projected_miss_s(ages: Ages, budget: Budget) -> float:
    """By how many seconds some instance will have been unread for longer than ``every_s``; 0 where none will.

    At full rate. Instances are read in the order of their ages: the greatest is that of the first now, or that of the
    last when it is read.
    """
    return max(0.0, max(ages.first_s, ages.last_s + budget.needs_s(ages.left_bytes)) - budget.every_s)


def allowed_rate(budget: Budget, *, busy: bool, miss_s: float) -> float:
    """Bytes a second: less while transfers or intake work, unless some instance would be read too late for it."""
    return budget.rate * YIELDING if busy and miss_s <= 0 else float(budget.rate)


def freezes(bad: int, budget: Budget) -> bool:
    """Whether so many bad instances within a pass freeze the store."""
    return bad > budget.freeze_at
