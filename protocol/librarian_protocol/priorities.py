"""Decides which wanted transfers go first, and estimates when they arrive. Pure.

A priority orders what is wanted from one source; how slots are shared among sources is not its business (``slots.py``).
Higher goes first, and among equals what was wanted earlier. What is on the wire is not stopped for what is more urgent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from librarian_protocol.entries import USUAL_PRIORITY
from librarian_protocol.errors import ArgumentInvalid

LEAST, MOST = -100, 100


def check(priority: int) -> int:
    """The priority.

    Raises:
        ArgumentInvalid: it is beyond the bounds.
    """
    if not LEAST <= priority <= MOST:
        raise ArgumentInvalid(
            f"priority {priority} is not between {LEAST} and {MOST}", hint="0 is that of all others; higher goes first"
        )
    return priority


def of_subscription(priority: int) -> int:
    """The priority of the transfers of a subscription that has one from 0 to 9."""
    return priority - USUAL_PRIORITY


class Queued(msgspec.Struct, frozen=True):
    """A transfer on its way, or before that."""

    id: int
    #: Who is to bring it, as far as is known; "" where nobody knows.
    source: str
    #: What is still to come of it.
    left_bytes: int


def arrivals(under_way: Sequence[Queued], wanted: Sequence[Queued], rates: Mapping[str, float]) -> dict[int, float]:
    """In how many seconds each will have come, if its source goes on as fast as it did; none without a rate.

    Args:
        under_way: what is on the wire, in no order: the last of them is waited for.
        wanted: what comes after that, in its order.
        rates: bytes a second of each source, as measured; 0 or missing where nothing was.
    """
    ahead: dict[str, int] = {}
    for transfer in under_way:
        ahead[transfer.source] = ahead.get(transfer.source, 0) + transfer.left_bytes
    found = {transfer.id: (transfer.source, ahead[transfer.source]) for transfer in under_way}
    for transfer in wanted:
        ahead[transfer.source] = ahead.get(transfer.source, 0) + transfer.left_bytes
        found[transfer.id] = transfer.source, ahead[transfer.source]
    return {
        id_: round(left_bytes / rates[source], 1)
        for id_, (source, left_bytes) in found.items()
        if rates.get(source, 0.0) > 0
    }
