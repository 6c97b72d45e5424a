"""Decides which site gets the next slot: batches of a site's adapters, or pushes, are limited in number, and shared.
Pure.

A *slot* is the right to have one batch under way. What counts is with whom: a site that brings (or takes) its bytes
slowly holds its slots for long, and must not hold those that others could use.

- No site takes the last free slot, unless it holds none.
- A site that is *slow* (``rates.py``) holds one slot, and all slow ones together at most half of them.
- Among those that may, the one that holds fewest is next; among these, the one whose turn is longest ago.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from enum import StrEnum

from librarian_protocol.names import SiteName


class Waits(StrEnum):
    """Why a site gets no slot now. Shown to people; see :data:`SAID`."""

    NO_FREE_SLOT = "no-free-slot"
    SITE_HAS_ITS_SHARE = "site-has-its-share"
    SITE_IS_SLOW = "site-is-slow"


#: In words, after the site's name.
SAID = {
    Waits.NO_FREE_SLOT: "every slot is taken",
    Waits.SITE_HAS_ITS_SHARE: "it holds its share of the slots; the last one is left to other sites",
    Waits.SITE_IS_SLOW: "it is slow, and slow sites hold one slot each and half of all at most",
}


def waits(slots: int, held: Mapping[SiteName, int], slow: Set[SiteName], site: SiteName) -> Waits | None:
    """Why a site may not take one more slot; None where it may.

    Args:
        slots: how many there are, at least 1.
        held: how many of them each site holds.
        slow: the sites that are slow.
        site: the one that asks.
    """
    free = slots - sum(held.values())
    mine = held.get(site, 0)
    if free <= 0:
        return Waits.NO_FREE_SLOT
    if site in slow and slots > 1:
        others = sum(number for peer, number in held.items() if peer in slow)
        if mine or others >= slots // 2:
            return Waits.SITE_IS_SLOW
    if mine and free == 1:
        return Waits.SITE_HAS_ITS_SHARE
    return None


def following(
    slots: int,
    held: Mapping[SiteName, int],
    slow: Set[SiteName],
    asking: Iterable[SiteName],
    turns: Mapping[SiteName, int],
) -> SiteName | None:
    """The site that gets the next slot; None where none may have one.

    Args:
        slots, held, slow: see :func:`waits`.
        asking: the sites that have work, those with the most urgent or oldest first.
        turns: when each site last got a slot, as a number that grows with each; missing is never.
    """
    may = [site for site in asking if waits(slots, held, slow, site) is None]
    return min(may, key=lambda site: (held.get(site, 0), turns.get(site, 0)), default=None)
