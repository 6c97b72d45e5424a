"""Decides when a batch ends early because some of its transfers were stopped. Pure."""

from __future__ import annotations

#: If fewer bytes are left, waiting for them is faster than starting the others again.
WORTH_ENDING = 1 << 20


def ends(*, stopped: int, stopped_bytes: int, going: int) -> bool:
    """Whether a batch ends now. Its other transfers then start again, from what is staged.

    Args:
        stopped: transfers that were cancelled or paused and have not come yet.
        stopped_bytes: what these would still bring.
        going: transfers that have not come yet, and are to.
    """
    return stopped > 0 and (going == 0 or stopped_bytes >= WORTH_ENDING)
