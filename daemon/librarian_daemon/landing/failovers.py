"""Stores that are passed by for others that are less preferred: an incident as long as it lasts.

The same service looks whether a store can take more than before: then what waits for it is tried at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.transfers import transfers
from librarian_daemon.landing.rooms import Look, Rooms
from librarian_daemon.ports.incidents import Incidents
from librarian_daemon.ports.time import Clock
from librarian_protocol.store_choice import Candidate, Passed

CODE = "store-failover"
EVERY_S = 5.0
#: A store can take more than before when its room has grown by this share of its size.
_GROWN = 0.01


class Failovers:
    """Service."""

    def __init__(
        self,
        catalog: Catalog,
        rooms: Rooms,
        incidents: Incidents,
        clock: Clock,
        more_room: Callable[[], Awaitable[None]],
    ) -> None:
        self._catalog = catalog
        self._rooms = rooms
        self._incidents = incidents
        self._clock = clock
        self._more_room = more_room
        #: By label of a store that is passed by: the size of the last file that it should have taken.
        self._passed: dict[str, int] = {}
        #: By store: its room in bytes when what waits was last tried, or less; below 0 if it is not usable.
        self._least: dict[str, int] = {}
        self._log = structlog.get_logger("failovers")

    async def passed(self, look: Look, store: str, why: Passed, instead: str, size_bytes: int) -> None:
        """A file of that size goes into another store than this preferred one. Both are given by their ids."""
        preferred, other = look.candidates[store], look.candidates[instead]
        before = self._passed.get(preferred.label)
        self._passed[preferred.label] = size_bytes
        if before is None:
            what = preferred.problem or f"it has room for {max(preferred.room_bytes, 0):,} bytes"
            self._log.warning("store_passed", store=preferred.label, other=other.label, why=why.value, error=what)
            await self._incidents.open(
                CODE,
                preferred.label,
                f"files go into store {other.label!r} instead of {preferred.label!r}: {what}",
                "it ends by itself when the preferred store takes files again; see `lbctl store list`",
            )

    async def run(self) -> None:
        """Until cancelled."""
        for label in await self._incidents.subjects(CODE):
            self._passed.setdefault(label, 0)
        while True:
            await self._clock.sleep(EVERY_S)
            waits = await self._catalog.read(transfers.wait_for_stores)
            if self._passed or waits:
                look = await self._rooms.look()
                await self._resolve(look)
                if self._has_grown(look) and waits:
                    await self._more_room()
            else:
                self._least.clear()

    async def _resolve(self, look: Look) -> None:
        by_label = {candidate.label: candidate for candidate in look.candidates.values()}
        for label, size_bytes in list(self._passed.items()):
            candidate = by_label.get(label)
            if candidate is None or candidate.passed(size_bytes) not in {Passed.FULL, Passed.UNUSABLE}:
                del self._passed[label]
                await self._incidents.resolve(CODE, label)

    def _has_grown(self, look: Look) -> bool:
        grown = False
        for id_, candidate in look.candidates.items():
            room_bytes = _room(candidate)
            least = self._least.get(id_, room_bytes)
            if room_bytes > least + candidate.total_bytes * _GROWN or (least < 0 <= room_bytes):
                grown, least = True, room_bytes
            self._least[id_] = min(least, room_bytes)
        return grown


def _room(candidate: Candidate) -> int:
    usable = candidate.active and candidate.ingestable and not candidate.problem
    return max(candidate.room_bytes, 0) if usable else -1
