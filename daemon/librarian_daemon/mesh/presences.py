"""How this site sees the other sites: by their heads, and by what the bus says of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.status import queries
from librarian_daemon.mesh.membership import Membership
from librarian_daemon.ports.bus import Streams
from librarian_daemon.ports.time import Clock
from librarian_protocol import presence
from librarian_protocol.entries import Access
from librarian_protocol.heads import Heads
from librarian_protocol.names import SiteName
from librarian_protocol.presence import EVERY_S, Presence, Seen


class _Heard(msgspec.Struct, frozen=True, kw_only=True):
    """The last heads of a site."""

    at: str
    at_s: float
    every_s: float
    recovering: tuple[str, ...]


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """One site, as it is seen now."""

    presence: Presence
    #: Since when, for people; "" where nobody knows.
    since: str
    detail: str
    #: When it last told its heads; "" where it never did since this daemon began.
    heard_at: str
    #: What its recovery waits for, as it told last.
    recovering: tuple[str, ...]


class Presences:
    """Kept in memory: all heads arrive again within an interval."""

    def __init__(self, catalog: Catalog, bus: Streams, membership: Membership, clock: Clock, site: SiteName) -> None:
        self._catalog = catalog
        self._bus = bus
        self._membership = membership
        self._clock = clock
        self._site = site
        self._began, self._began_s = clock.utc(), clock.boottime_s()
        self._heard: dict[SiteName, _Heard] = {}

    def heard(self, peer: SiteName, heads: Heads) -> None:
        """Record heads of a site that arrived now. Their signature was checked."""
        self._heard[peer] = _Heard(
            at=self._clock.utc(),
            at_s=self._clock.boottime_s(),
            every_s=heads.every_ms / 1000,
            recovering=tuple(heads.recovering),
        )

    async def sights(self) -> Mapping[SiteName, Sight]:
        """All other sites of the roster."""
        members = self._membership.members
        mine = members.get(self._site)
        hears = mine is None or mine.access != Access.CALLBACK
        readings = {} if hears else await self._catalog.read(queries.readings)
        return {site: self._sight(site, hears, readings) for site in members if site != self._site}

    def _sight(self, site: SiteName, hears: bool, readings: Mapping[str, tuple[str | None, str]]) -> Sight:
        link, heard = self._bus.links().get(site), self._heard.get(site)
        quiet_s = self._clock.boottime_s() - (heard.at_s if heard else self._began_s)
        last_read = readings.get(site, (None, ""))[0]
        if not hears and last_read:
            quiet_s = (datetime.fromisoformat(self._clock.utc()) - datetime.fromisoformat(last_read)).total_seconds()
        seen = presence.seen(
            readable=None if link is None else link.up,
            why=link.detail if link else "",
            hears_heads=hears,
            quiet_s=quiet_s,
            every_s=heard.every_s if heard else EVERY_S,
        )
        return Sight(
            presence=seen.presence,
            since=self._since(seen, heard, link.since if link else ""),
            detail=seen.detail,
            heard_at=heard.at if heard else "",
            recovering=heard.recovering if heard else (),
        )

    def _since(self, seen: Seen, heard: _Heard | None, link_since: str) -> str:
        if seen.presence is Presence.SILENT:
            return heard.at if heard else self._began
        return link_since

    async def away(self) -> dict[SiteName, str]:
        """Sites that are down or silent, and why."""
        gone = {Presence.DOWN, Presence.SILENT}
        return {site: sight.detail for site, sight in (await self.sights()).items() if sight.presence in gone}


def last_heard(sight: Sight | None, read_at: str | None) -> str | None:
    """When a site gave its last sign of life: its heads, or what was read of its journal; None: never.

    ``read_at``: when an entry of it came last.
    """
    return max(sight.heard_at if sight else "", read_at or "") or None
