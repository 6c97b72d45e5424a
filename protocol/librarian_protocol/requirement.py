"""What must be kept: how many instances of a file, in how many failure domains, and what nobody may evict. Pure.

Rules of the mesh (:mod:`librarian_protocol.rules`) are declared by sites that may admit others, and hold everywhere.
They only ever raise what is required. A site's own ``[retention] keep`` takes the place of the default: it is the one
thing that may lower it. All match by name; equal bytes under another name count for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import msgspec
from msgspec import Meta

from librarian_protocol.entries import StoreRole
from librarian_protocol.names import Name
from librarian_protocol.rules import MOST_INSTANCES, Hold, Keep, is_over, matching

Count = Annotated[int, Meta(ge=1, le=MOST_INSTANCES)]


class Requirement(msgspec.Struct, frozen=True, kw_only=True):
    """What must be left of a file after an eviction. None of it can be 0: the last instance is never evicted."""

    #: (site, store) pairs.
    instances: Count = 2
    #: Failure domains of their sites.
    domains: Count = 2
    #: One of the instances stands in a store of this role.
    role: StoreRole | None = None


#: Where a site's own file says nothing.
DEFAULT = Requirement()
#: What is always required.
LEAST = Requirement(instances=1, domains=1)


#: More than any mesh has.
_NEVER = Requirement(instances=MOST_INSTANCES, domains=MOST_INSTANCES)


def of_rule(rule: Keep) -> Requirement:
    """What a rule requires.

    Whether an instance stands in a store of a role that only later versions know, nobody can say here: such a rule is
    never fulfilled.
    """
    match rule.role:
        case None:
            return Requirement(instances=rule.instances, domains=rule.domains)
        case StoreRole.ARCHIVE:
            return Requirement(instances=rule.instances, domains=rule.domains, role=StoreRole.ARCHIVE)
        case _:
            return _NEVER


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


def required(name: Name, rules: Iterable[Keep], own: Requirement | None) -> Requirement:
    """What the site that asks must leave of a file.

    ``own`` is its ``[retention] keep``; None where its file says nothing, then the default holds.
    """
    return greatest([own or DEFAULT, *_matching(name, rules)])


def carried(name: Name, rules: Iterable[Keep], own: Requirement | None) -> Requirement:
    """What a voucher's answer demands of the site that asks: what was *said* here, by a rule or in the site's file.

    The default is not part of it. It is for the site that asks, and that site's own file may lower it; a default
    carried by every voucher could never be lowered.
    """
    said = [own] if own is not None else []
    return greatest([*said, *_matching(name, rules)])


def is_held(name: Name, holds: Iterable[Hold], now_s: float) -> bool:
    """Whether a hold matches. ``now_s`` is of the wall clock."""
    return any(not is_over(hold, now_s) for hold in matching(holds, name))


def _matching(name: Name, rules: Iterable[Keep]) -> list[Requirement]:
    return [of_rule(rule) for rule in matching(rules, name)]
