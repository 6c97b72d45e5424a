"""Decides how slowly a site may send bytes: judged over minutes, and learned. Pure.

A site that sends one byte every two seconds is never silent, so that no patience with silence ends. Such a batch is
given up, its files are tried again later from where they stopped, and others go first. A link that is honestly slow
must bring its files all the same: each time that its batch was given up, half as much is asked of the site, down to a
part. It stays *slow*, which bounds the slots it holds (``slots.py``), until it brings the full rate once.
"""

from __future__ import annotations

import msgspec

#: The least part of the least rate that is ever asked.
FLOOR = 1 / 32
#: What the outcome of an item counts for, beside its bytes: a thousand empty files bring no bytes.
OUTCOME_BYTES = 4096


class Pace(msgspec.Struct, frozen=True):
    """What was learned of one site."""

    #: The part of the least rate that is asked.
    asked: float = 1.0
    #: It brought less than the least rate when it was last judged.
    slow: bool = False


def judged(pace: Pace, moved_bytes: int, seconds: float, min_rate: float) -> tuple[Pace, bool]:
    """What is known of a site after so much came in so many seconds (more than 0), and whether the batch ends.

    ``min_rate``: bytes a second; 0 is no limit.
    """
    rate = moved_bytes / seconds
    if rate >= min_rate:
        return Pace(asked=min(1.0, 2 * pace.asked)), False
    if rate >= min_rate * pace.asked:
        return Pace(asked=pace.asked, slow=True), False
    return Pace(asked=max(FLOOR, pace.asked / 2), slow=True), True
