"""Pauses for maintenance by a person: of intake, of transfers, or of one other site. Kept in the catalog.

Services ask here before they begin work; :meth:`Pauses.watch` notifies work that is under way. A pause that is over
counts no more from that moment on, whether its row was removed or not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec
import structlog

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.transfers import pauses
from librarian_daemon.ports.time import Clock
from librarian_daemon.runtime.signals import Signal
from librarian_protocol import api, pausing
from librarian_protocol.display import utc
from librarian_protocol.names import SiteName
from librarian_protocol.pausing import INTAKE, TRANSFERS, Pause

#: The latest time at which a jump of the wall clock is noticed.
_LOOK_EVERY_S = 30.0
#: Why nothing is exchanged with a site now; "" if it is not paused. Asked from any thread.
PeerPaused = Callable[[SiteName], str]


def no_peer_paused(_: SiteName) -> str:
    """Used where there are no pauses."""
    return ""


class _ActivePause(msgspec.Struct, frozen=True):
    pause: Pause
    #: When it ends, on the clock that does not jump.
    end_s: float


class Pauses:
    """Service: removes pauses that are over, and wakes the services that waited."""

    def __init__(self, catalog: Catalog, clock: Clock) -> None:
        self._catalog = catalog
        self._clock = clock
        self._active: dict[str, _ActivePause] = {}
        self._wakes: list[Callable[[], None]] = []
        self._changed = Signal()
        self._log = structlog.get_logger("pauses")

    async def load(self) -> None:
        """Read what the catalog keeps: before any service runs."""
        for pause in await self._catalog.read(pauses.kept):
            self._hold(pause)

    def watch(self, wake: Callable[[], None]) -> None:
        """Have this called whenever a pause begins or ends."""
        self._wakes.append(wake)

    def _hold(self, pause: Pause) -> None:
        left_s = pausing.left_s(pause, self._clock.unix_s())
        self._active[pause.what] = _ActivePause(pause, self._clock.boottime_s() + left_s)

    # ---- what counts now ---------------------------------------------------------------------------------

    def of(self, what: str) -> Pause | None:
        """The pause that is in force."""
        active = self._active.get(what)
        return active.pause if active is not None and self._left_s(active) > 0 else None

    def _left_s(self, active: _ActivePause) -> float:
        return min(pausing.left_s(active.pause, self._clock.unix_s()), active.end_s - self._clock.boottime_s())

    def in_force(self) -> list[Pause]:
        """All pauses in force, sorted by what they pause."""
        return [pause for what in sorted(self._active) if (pause := self.of(what)) is not None]

    def peers(self) -> frozenset[SiteName]:
        """The sites that are paused."""
        return frozenset(site for pause in self.in_force() if (site := pausing.peer_of(pause.what)) is not None)

    def intake(self) -> str:
        """Why nothing is taken in; "" if it is."""
        return self._said(INTAKE)

    def transfers(self) -> str:
        """Why nothing is brought into this site's stores; "" if it is."""
        return self._said(TRANSFERS)

    def peer(self, site: SiteName) -> str:
        """Why nothing is exchanged with that site; "" if it is."""
        return self._said(pausing.of_peer(site))

    def _said(self, what: str) -> str:
        pause = self.of(what)
        return pausing.describe(pause) if pause else ""

    # ---- changes -----------------------------------------------------------------------------------------

    async def begin(self, pause: Pause) -> None:
        """Add a pause. It replaces an earlier pause of the same thing."""
        await self._catalog.write(pauses.put, pause)
        self._hold(pause)
        self._log.warning("paused", what=pause.what, by=pause.by, reason=pause.reason, until=utc(pause.until))
        self._tell()

    async def end(self, what: str) -> Pause | None:
        """End a pause early; None if there was none."""
        pause = self.of(what)
        await self._catalog.write(pauses.remove, what, None)
        self._active.pop(what, None)
        self._log.info("resumed", what=what)
        self._tell()
        return pause

    def _tell(self) -> None:
        self._changed.set()
        for wake in self._wakes:
            wake()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            over = [active.pause for active in self._active.values() if self._left_s(active) <= 0]
            for pause in over:
                await self._catalog.write(pauses.remove, pause.what, pause.until)
                if self._active.get(pause.what, _ActivePause(pause, 0.0)).pause == pause:
                    self._active.pop(pause.what, None)
                self._log.info("pause_is_over", what=pause.what, until=utc(pause.until))
            if over:
                self._tell()
            next_s = min((self._left_s(active) for active in self._active.values()), default=_LOOK_EVERY_S)
            await self._changed.wait(min(max(next_s, 0.05), _LOOK_EVERY_S))


def shown(given: Collection[Pause], clock: Clock) -> list[api.Pause]:
    """The pauses, as the control API shows them."""
    return [
        api.Pause(
            what=pause.what,
            reason=pause.reason,
            by=pause.by,
            since=utc(pause.began),
            until=utc(pause.until),
            left_s=pausing.left_s(pause, clock.unix_s()),
        )
        for pause in given
    ]
