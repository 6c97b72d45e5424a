"""Heads: every site announces which journal tips it holds, and records what others announce (docs/events.md).

What is missing is then in the catalog, where :class:`~librarian_daemon.journal.catch_up.CatchUp` looks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.journal import quarantine
from librarian_daemon.catalog.journal.heads import heard, held_back, missing, tips
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.journal.twins import Twins
from librarian_daemon.mesh.membership import Membership
from librarian_daemon.mesh.presences import Presences
from librarian_daemon.ports.bus import HeadsChannel
from librarian_daemon.ports.incidents import Incidents
from librarian_daemon.ports.time import Clock
from librarian_daemon.runtime.metrics import Metrics
from librarian_daemon.runtime.signals import Signal
from librarian_protocol import heads
from librarian_protocol.display import safe
from librarian_protocol.errors import BusUnavailable, PeerError
from librarian_protocol.heads import HeldBack, Tip
from librarian_protocol.keys import SiteKey
from librarian_protocol.names import SiteName

HELD_BACK = "held-back"


class Announcer:
    """Service: announces which journal tips this site holds."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        bus: HeadsChannel,
        clock: Clock,
        site: SiteName,
        key: SiteKey,
        twins: Twins,
        every_s: float,
        refusing: Mapping[SiteName, str],
    ) -> None:
        """``refusing``: sites whose segments are refused at present, and why."""
        self._catalog = catalog
        self._bus = bus
        self._clock = clock
        self._site = site
        self._key = key
        self._twins = twins
        self._every_s = every_s
        self._refusing = refusing
        self._log = structlog.get_logger("heads")

    async def run(self) -> None:
        """Announce at intervals, for ever. An announcement that is lost is made up for by the next one."""
        while True:
            held = await self._catalog.read(tips)
            waits = await self._catalog.read(quarantine.waits_for, self._site)
            stalled = await self._catalog.read(held_back, self._site, dict(self._refusing))
            incarnation = self._catalog.position.incarnation
            self._twins.announced(incarnation)
            message = heads.seal(
                self._site,
                held,
                self._clock.utc(),
                self._key,
                every_s=self._every_s,
                incarnation=incarnation,
                recovering=waits or (),
                held_back=stalled,
            )
            try:
                await self._bus.announce(message)
            except BusUnavailable as exc:
                self._log.debug("heads_not_announced", error=exc.message)
            await self._clock.sleep(self._every_s)


class Listener:
    """Service: records what the others hold."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        bus: HeadsChannel,
        incidents: Incidents,
        metrics: Metrics,
        site: SiteName,
        membership: Membership,
        presences: Presences,
        twins: Twins,
        gap: Signal,
        held_back: HeldBackHere,
    ) -> None:
        """``gap`` is set when a peer holds segments that this site does not hold."""
        self._catalog = catalog
        self._bus = bus
        self._incidents = incidents
        self._metrics = metrics
        self._site = site
        self._membership = membership
        self._presences = presences
        self._twins = twins
        self._gap = gap
        self._held_back = held_back
        self._log = structlog.get_logger("heads")

    async def run(self) -> None:
        """Record what the others hold, for ever."""
        async for peer, message in self._bus.heads():
            if peer == self._site:
                await self._twins.hear_own(message)
                continue
            key = self._membership.keys().get(peer)
            if key is None:
                continue
            try:
                found = heads.open_signed(message, site=peer, key=key)
            except PeerError as exc:
                self._metrics.refused_messages.labels(peer=peer).inc()
                self._log.warning("heads_refused", sparingly=True, peer=peer, error=exc.message)
                await self._incidents.open(
                    "message-refused", peer, exc.message, "compare the site's key at both ends: `lbctl site list`"
                )
                continue
            self._presences.heard(peer, found)
            await self._catalog.write(_hear, peer, found.leaves)
            await self._held_back.hear(peer, heads.of_reader(found, self._site))
            if await self._catalog.read(missing):
                self._gap.set()


class HeldBackHere:
    """Opens an incident for each site that holds back this site's journal."""

    def __init__(self, incidents: Incidents, site: SiteName, standing: Signal) -> None:
        self._incidents = incidents
        self._site = site
        #: Set when a peer holds it back persistently.
        self._standing = standing
        #: What each said last.
        self._told: dict[SiteName, HeldBack | None] = {}

    async def hear(self, peer: SiteName, told: HeldBack | None) -> None:
        """Handle the heads of a peer. The incident opens when two heads in a row say the same: a gap is filled between
        them.
        """
        known = self._told.get(peer)
        if told is None and (known is not None or peer not in self._told):
            await self._incidents.resolve(HELD_BACK, peer)
        elif told is not None and told == known:
            await self._incidents.open(
                HELD_BACK,
                peer,
                f"{peer} holds back what {self._site} says behind entry {told.seq}: {safe(told.why)}",
                "`lbctl events verify` at both; docs/keys.md, “A wrong key”, says how to go on",
            )
            self._standing.set()
        self._told[peer] = told


def _hear(tx: Tx, peer: SiteName, told: Sequence[Tip]) -> None:
    heard(tx, peer, told)
    quarantine.heard(tx, peer)
