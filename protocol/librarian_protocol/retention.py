"""Retention rules of one site: which instances of a store are given up, and when. Pure.

A rule says what a site would like; whether an instance may go is decided by the protocol of evictions
(:mod:`librarian_protocol.eviction`). So a rule is never about safety, and may go by clocks.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Literal

import msgspec

from librarian_protocol import globs
from librarian_protocol.errors import ArgumentInvalid
from librarian_protocol.lengths import seconds_of
from librarian_protocol.names import Name

_PERCENT = re.compile(r"([0-9]{1,3})%", re.ASCII)


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """Of one store. With both an age and a fullness, both must be so."""

    #: Label of the store.
    store: str
    match: str = "**"
    #: Seconds since the instance was stored; None: of any age.
    after_s: int | None = None
    #: Percent of the store that are in use when it begins, and when it ends; None: however full it is.
    fuller_than: int | None = None
    down_to: int | None = None
    needs_role: Literal["archive"] | None = None
    #: The store is an archive, and gives up all the same.
    allow_archive: bool = False


def rule_of(
    *, store: str, match: str, after: str, fuller_than: str, down_to: str, needs_role: str, allow_archive: bool
) -> Rule:
    """A rule as it is written in ``site.toml``; "" is not given.

    Raises:
        ArgumentInvalid: the glob, the age or a percentage is none, it would give up everything at once, or it asks for
            another role than archive.
    """
    if not after and not fuller_than:
        raise ArgumentInvalid(
            "a rule without `after` and `fuller_than` gives up everything at once",
            hint='write after = "28d", or fuller_than = "85%" with down_to = "70%"',
        )
    if needs_role not in {"", "archive"}:
        raise ArgumentInvalid(f"needs_role {needs_role[:40]!a} cannot be asked for", hint='only "archive"')
    begins = percent_of(fuller_than) if fuller_than else None
    ends = percent_of(down_to) if down_to else begins
    if (begins is None and ends is not None) or (begins is not None and ends is not None and ends > begins):
        raise ArgumentInvalid(
            f"down_to {down_to!a} does not fit fuller_than {fuller_than!a}",
            hint="down_to is the smaller one of the two",
        )
    return Rule(
        store=store,
        match=globs.check(match),
        after_s=seconds_of(after) if after else None,
        fuller_than=begins,
        down_to=ends,
        needs_role="archive" if needs_role else None,
        allow_archive=allow_archive,
    )


def percent_of(text: str) -> int:
    """The number of ``85%``.

    Raises:
        ArgumentInvalid: it is written otherwise, or beyond 100.
    """
    found = _PERCENT.fullmatch(text)
    if found is None or int(found[1]) > 100:
        raise ArgumentInvalid(f"{text[:40]!a} is no percentage", hint='write "85%"')
    return int(found[1])


def is_old_enough(rule: Rule, name: Name, at: str, now_s: float) -> bool:
    """Whether the rule is about an instance, by its name and by when it was stored (RFC 3339)."""
    if not globs.matches(rule.match, name):
        return False
    if rule.after_s is None:
        return True
    stored_s = stored_at_s(at)
    return stored_s is not None and stored_s + rule.after_s <= now_s


def stored_at_s(at: str) -> float | None:
    """Seconds since 1970 of the time of an entry; None of a text that is none: such an instance has no age."""
    try:
        return datetime.fromisoformat(at).timestamp()
    except ValueError:
        return None


def to_free_bytes(rule: Rule, *, total_bytes: int, free_bytes: int, going_bytes: int, begun: bool) -> int | None:
    """How many bytes the rule wants to free now; None: as many as are old enough. 0: nothing.

    Args:
        total_bytes: of the store's filesystem.
        free_bytes: of it.
        going_bytes: what is on its way out already: in trash.
        begun: it has begun, and goes on until ``down_to``.
    """
    if rule.fuller_than is None or rule.down_to is None:
        return None
    used_bytes = total_bytes - free_bytes - going_bytes
    begins_bytes, ends_bytes = (total_bytes * percent // 100 for percent in (rule.fuller_than, rule.down_to))
    if used_bytes <= (ends_bytes if begun else begins_bytes):
        return 0
    return used_bytes - ends_bytes


def is_fuller(rule: Rule, *, total_bytes: int, free_bytes: int) -> bool:
    """Whether the store is fuller than the rule allows: then the time in trash may be cut."""
    return rule.fuller_than is not None and total_bytes - free_bytes > total_bytes * rule.fuller_than // 100
