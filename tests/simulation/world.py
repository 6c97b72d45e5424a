"""What the sites of a simulation share, and what is between them: gates, trace, clock, chance.

Nothing durable exists outside of the ports below, so a crash at one of their gates is as good as one anywhere.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tests.simulation.loop import PROCESS, Process, SimLoop

from librarian_protocol.names import SiteName

if TYPE_CHECKING:
    from tests.simulation.network import SimBus, Stream
    from tests.simulation.stores import SimDisk


class Trace:
    """A hash over all that happened, and the last of it."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        self.last: deque[str] = deque(maxlen=400)

    def add(self, line: str) -> None:
        self._hash.update(line.encode())
        self.last.append(line)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


class World:
    """One simulation's surroundings."""

    def __init__(self, loop: SimLoop, names: Sequence[SiteName]) -> None:
        self.loop = loop
        self.chance = loop.chance
        self.names = list(names)
        self.trace = Trace()
        self.counts: Counter[str] = Counter()
        #: Crashes to come: at which site, at the how-manieth operation of which kind.
        self.crashes: dict[tuple[SiteName, str], list[int]] = {}
        self.operations: Counter[tuple[SiteName, str]] = Counter()
        self.crashed: asyncio.Queue[tuple[SiteName, bool]] = asyncio.Queue()
        #: Pairs of sites that do not reach one another now.
        self.cuts: set[frozenset[SiteName]] = set()
        self.faults = True
        #: Whether sites want to give up what they have.
        self.evicts = False
        self.streams: dict[SiteName, Stream] = {}
        self.stores: dict[SiteName, SimDisk] = {}
        self.buses: dict[SiteName, SimBus] = {}

    def violated(self, what: str) -> None:
        """A rule is broken: the run ends."""
        self.loop.trouble.append(what)

    def reach(self, first: SiteName, other: SiteName) -> bool:
        return first == other or frozenset((first, other)) not in self.cuts

    def unlucky(self, share: float) -> bool:
        return self.faults and self.chance.random() < share

    async def gate(self, site: SiteName, kind: str, detail: str = "") -> None:
        """Before and after each effect: some time passes, and here the site may die."""
        await self.loop.pause(self.chance.random() * 0.004)
        self.operations[site, kind] += 1
        self.trace.add(f"{self.loop.now_s:.6f} {site} {kind} {detail}")
        planned = self.crashes.get((site, kind))
        if planned and self.faults and self.operations[site, kind] == planned[0]:
            planned.pop(0)
            await self.die(site, kind)

    async def die(self, site: SiteName, kind: str) -> None:
        process = PROCESS.get()
        assert process is not None
        self.end(site, process, kind)
        await asyncio.Event().wait()

    def end(self, site: SiteName, process: Process, kind: str) -> None:
        """The daemon is killed, or its machine loses power."""
        power = self.chance.random() < 0.5
        self.counts[f"{'power cut' if power else 'kill'} at {kind}"] += 1
        self.trace.add(f"{self.loop.now_s:.6f} {site} DIES at {kind}")
        self.loop.kill(process)
        if power:
            self.stores[site].lose_power()
        self.crashed.put_nowait((site, power))


# ---- clock and chance ------------------------------------------------------------------------------------


class SimClock:
    """Each site's own: it goes wrong by days."""

    def __init__(self, world: World, skew_s: float) -> None:
        self._loop = world.loop
        self._skew_s = skew_s

    def utc(self) -> str:
        micros = int((1_900_000_000 + self._loop.now_s + self._skew_s) * 1e6)
        seconds, rest = divmod(micros, 1_000_000)
        days, left = divmod(seconds, 86400)
        year, month, day = _date(days)
        hour, minute = divmod(left // 60, 60)
        return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{left % 60:02}.{rest:06}Z"

    def unix_s(self) -> int:
        return int(1_900_000_000 + self._loop.now_s + self._skew_s)

    def boottime_s(self) -> float:
        return self._loop.now_s + 1000.0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def _date(days: int) -> tuple[int, int, int]:
    """Civil date of a day since 1970 (Hinnant's algorithm)."""
    days += 719468
    era, doe = divmod(days, 146097)
    yoe = (doe - doe // 1460 + doe // 36524 - doe // 146096) // 365
    doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
    mp = (5 * doy + 2) // 153
    month = mp + 3 if mp < 10 else mp - 9
    return yoe + era * 400 + (month <= 2), month, doy - (153 * mp + 2) // 5 + 1


class SimRng:
    """From the seed."""

    def __init__(self, world: World) -> None:
        self._chance = world.chance

    def hex(self, digits: int) -> str:
        return self._chance.randbytes(digits // 2).hex()

    def bytes(self, count: int) -> bytes:
        return self._chance.randbytes(count)
