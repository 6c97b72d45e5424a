"""What must be kept: how many instances of a file, in how many failure domains, and what nobody may evict. Pure.

Rules of the mesh are declared by sites that may admit others, and hold everywhere. They only ever raise what is
required. A site's own ``[retention] keep`` takes the place of the default: it is the one thing that may lower it.
All match by name; equal bytes under another name count for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from librarian_protocol import globs
from librarian_protocol.entries import StoreRole
from librarian_protocol.names import Name

Count = Annotated[int, Meta(ge=1, le=1000)]


class Requirement(msgspec.Struct, frozen=True, kw_only=True):
    """What must be left of a file after an eviction. None of it can be 0: the last instance is never evicted."""

    #: (site, store) pairs.
    instances: Count = 2
    #: Failure domains of their sites.
    domains: Count = 2
    #: One of the instances stands in a store of this role.
    role: Literal[StoreRole.ARCHIVE] | None = None


#: Where a site's own file says nothing.
DEFAULT = Requirement()
#: What is always required.
LEAST = Requirement(instances=1, domains=1)


class KeepRule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule of the mesh: files whose name matches must be kept so."""

    match: str
    keep: Requirement


class HoldRule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule of the mesh: files whose name matches are evicted by nobody who has heard of it."""

    match: str
    #: Seconds of the wall clock at which the person's wish ends; None: when it is withdrawn.
    until_s: float | None = None


def greatest(requirements: Iterable[Requirement]) -> Requirement:
    """Field by field; ``LEAST`` of none."""
    most = LEAST
    for one in requirements:
        most = Requirement(
            instances=max(most.instances, one.instances),
            domains=max(most.domains, one.domains),
            role=most.role or one.role,
        )
    return most


def required(name: Name, rules: Iterable[KeepRule], own: Requirement | None) -> Requirement:
    """What the site that asks must leave of a file.

    ``own`` is its ``[retention] keep``; None where its file says nothing, then the default holds.
    """
    return greatest([own or DEFAULT, *_matching(name, rules)])


def carried(name: Name, rules: Iterable[KeepRule], own: Requirement | None) -> Requirement:
    """What a voucher's answer demands of the site that asks: what was *said* here, by a rule or in the site's file.

    The default is not part of it. It is for the site that asks, and that site's own file may lower it; a default
    carried by every voucher could never be lowered.
    """
    said = [own] if own is not None else []
    return greatest([*said, *_matching(name, rules)])


def is_held(name: Name, holds: Iterable[HoldRule], now_s: float) -> bool:
    """Whether a hold matches. ``now_s`` is of the wall clock."""
    return any((hold.until_s is None or now_s < hold.until_s) and globs.matches(hold.match, name) for hold in holds)


def _matching(name: Name, rules: Iterable[KeepRule]) -> list[Requirement]:
    return [rule.keep for rule in rules if globs.matches(rule.match, name)]
