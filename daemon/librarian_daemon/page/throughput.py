"""Bytes ingested and bytes received from peers over the last hour: kept in memory, for the plot on the page."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from librarian_daemon.ports.time import Clock
from librarian_daemon.runtime.metrics import Totals

EVERY_S = 15
SAMPLES = 240


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes a second, over one interval of ``EVERY_S``."""

    ingested: float
    received: float


class Throughput:
    """A service. ``totals`` gives counters that only grow."""

    def __init__(self, totals: Callable[[], Totals], clock: Clock) -> None:
        self._totals = totals
        self._clock = clock
        self._rates: deque[Rates] = deque(maxlen=SAMPLES)

    @property
    def rates(self) -> Sequence[Rates]:
        """Oldest first; one for each complete interval, an hour at most."""
        return list(self._rates)

    async def run(self) -> None:
        """Until cancelled."""
        last, last_s = self._totals(), self._clock.boottime_s()
        while True:
            await self._clock.sleep(EVERY_S)
            now, now_s = self._totals(), self._clock.boottime_s()
            took_s = max(now_s - last_s, 1e-3)
            self._rates.append(
                Rates(
                    ingested=(now.ingested_bytes - last.ingested_bytes) / took_s,
                    received=(now.received_bytes - last.received_bytes) / took_s,
                )
            )
            last, last_s = now, now_s
