"""How long to wait before the next attempt. Time here decides when to try, never whether it is safe (I13)."""

from __future__ import annotations

from blake3 import blake3

FIRST_S = 0.5
LONGEST_S = 300.0
#: A quarter either way, so that a thousand transfers that failed together do not come back together.
SPREAD = 0.25


def delay_s(attempts: int, key: str) -> float:
    """Seconds to wait after ``attempts`` failures (at least 1): doubled each time, capped, then spread.

    The spread is drawn from ``key`` and the number of attempts, not from a random source: the same call gives
    the same answer.
    """
    plain = min(FIRST_S * 2.0 ** min(attempts - 1, 32), LONGEST_S)
    drawn = int.from_bytes(blake3(f"{key}/{attempts}".encode()).digest(4), "big") / 0xFFFFFFFF
    return plain * (1 + SPREAD * (2 * drawn - 1))
