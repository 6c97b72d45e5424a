"""Heads: every site tells the others which journal ends it holds, and hears what they hold (docs/events.md).

What is missing stands in the catalog then; the repairer looks there.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from librarian_daemon.catalog import leaves, recovery
from librarian_daemon.catalog.writer import Catalog, Tx
from librarian_daemon.membership import Membership
from librarian_daemon.metrics import Metrics
from librarian_daemon.ports import Bus, Clock, Incidents
from librarian_daemon.signals import Signal
from librarian_protocol import heads
from librarian_protocol.errors import BusUnavailable, PeerError
from librarian_protocol.heads import Leaf
from librarian_protocol.keys import SiteKey
from librarian_protocol.names import SiteName


class Heads:
    """Services :meth:`run_announcing` and :meth:`run_listening`."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        bus: Bus,
        incidents: Incidents,
        clock: Clock,
        site: SiteName,
        key: SiteKey,
        membership: Membership,
        metrics: Metrics,
        every_s: float,
        heard: Signal,
    ) -> None:
        self._catalog = catalog
        self._bus = bus
        self._incidents = incidents
        self._clock = clock
        self._site = site
        self._key = key
        self._membership = membership
        self._metrics = metrics
        self._every_s = every_s
        #: Set when a peer turned out to hold what this site does not.
        self._heard = heard
        self._log = structlog.get_logger("heads")

    async def run_announcing(self) -> None:
        """Announce at intervals, for ever. What nobody hears is announced again."""
        while True:
            held = await self._catalog.read(leaves.leaves)
            try:
                await self._bus.announce(heads.seal(self._site, held, self._clock.utc(), self._key))
            except BusUnavailable as exc:
                self._log.debug("heads_not_announced", error=exc.message)
            await self._clock.sleep(self._every_s)

    async def run_listening(self) -> None:
        """Take down what the others hold, for ever."""
        async for peer, message in self._bus.heads():
            key = self._membership.keys().get(peer)
            if key is None:
                continue
            try:
                found = heads.open_signed(message, site=peer, key=key)
            except PeerError as exc:
                self._metrics.refused_messages.labels(peer=peer).inc()
                self._log.warning("heads_refused", peer=peer, error=exc.message)
                await self._incidents.open(
                    "message-refused", peer, exc.message, "compare the site's key at both ends: `lbctl site list`"
                )
                continue
            await self._catalog.write(_hear, peer, found.leaves)
            if await self._catalog.read(leaves.missing):
                self._heard.set()


def _hear(tx: Tx, peer: SiteName, told: Sequence[Leaf]) -> None:
    leaves.heard(tx, peer, told)
    recovery.heard(tx, peer)
