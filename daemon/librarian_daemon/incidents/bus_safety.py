"""An incident is open for as long as the bus can lose messages that it acknowledged (``bus-unsafe``)."""

from __future__ import annotations

from librarian_daemon.ports.bus import BusHealth
from librarian_daemon.ports.incidents import Incidents
from librarian_daemon.ports.time import Clock
from librarian_protocol.names import SiteName

_LOOK_EVERY_S = 3.0
CODE = "bus-unsafe"
HINT = "see the bus's settings in nats/README.md"


class BusWatch:
    """Service."""

    def __init__(self, bus: BusHealth, incidents: Incidents, clock: Clock, site: SiteName) -> None:
        self._bus = bus
        self._incidents = incidents
        self._clock = clock
        self._site = site

    async def run(self) -> None:
        """Until cancelled."""
        told: str | None = None
        seen: str | None = None
        while True:
            state = self._bus.state()
            # Twice the same: just after a start it is not known yet.
            found, before = "; ".join(state.unsafe), seen
            seen = found if state.connected else None
            if seen is not None and seen == before and seen != told:
                if found:
                    await self._incidents.open(CODE, self._site, found, HINT)
                else:
                    await self._incidents.resolve(CODE, self._site)
                told = found
            await self._clock.sleep(_LOOK_EVERY_S)
