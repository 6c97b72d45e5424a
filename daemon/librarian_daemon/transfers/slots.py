"""Slots in memory: how many batches of each adapter are under way, and with whom (``protocol/slots.py`` decides)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Set

from librarian_protocol import slots
from librarian_protocol.names import SiteName
from librarian_protocol.slots import Waits

#: Returns the sites that are slow now.
Slow = Callable[[], Set[SiteName]]


class Slots:
    """The slots of an adapter, or of pushes. A batch or push takes one, and returns it when it is over."""

    def __init__(self, number: int, slow: Slow) -> None:
        self.number = number
        self._slow = slow
        self._held: Counter[SiteName] = Counter()
        self._turns: dict[SiteName, int] = {}
        self._turn = 0

    def copy(self) -> Slots:
        """A copy for planning."""
        other = Slots(self.number, self._slow)
        other._held, other._turns, other._turn = self._held.copy(), dict(self._turns), self._turn
        return other

    @property
    def free(self) -> int:
        """Number of free slots; below 0 if batches go on that began under other settings."""
        return self.number - self._held.total()

    def held(self) -> Mapping[SiteName, int]:
        """Number of slots of each site that holds any."""
        return {site: number for site, number in self._held.items() if number}

    def waits(self, site: SiteName) -> Waits | None:
        """Why a site gets no slot now; None if it can have one."""
        return slots.waits(self.number, self._held, self._slow(), site)

    def following(self, asking: Iterable[SiteName]) -> SiteName | None:
        """Which of these sites gets the next slot; None if none can."""
        return slots.following(self.number, self._held, self._slow(), asking, self._turns)

    def take(self, site: SiteName) -> None:
        """Take a slot for a site's batch."""
        self._turn += 1
        self._turns[site] = self._turn
        self._held[site] += 1

    def give_back(self, site: SiteName) -> None:
        """Return the slot of a site's batch."""
        self._held[site] -= 1
        if not self._held[site]:
            del self._held[site]


def says(own: Slots, what: str, site: SiteName) -> str:
    """Why a site gets no slot now, for people: ``no-free-slot: …``; "" if it can have one."""
    why = own.waits(site)
    if why is None:
        return ""
    held = ", ".join(f"{holder} {number}" for holder, number in sorted(own.held().items())) or "none"
    return f"{why}: {site} waits for a slot of {what}: {slots.SAID[why]} ({own.number} in all; held: {held})"
