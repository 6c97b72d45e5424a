"""The other sites, as seen from here."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.status import queries
from librarian_daemon.mesh.membership import Membership
from librarian_daemon.mesh.presences import Presences, Sight, last_heard
from librarian_daemon.ports.time import Clock
from librarian_daemon.status.census import Figures
from librarian_daemon.transfers.fetcher import TransferProgress
from librarian_protocol import api
from librarian_protocol.names import SiteName
from librarian_protocol.presence import Presence


class PeerViews:
    """Read-only answers."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        membership: Membership,
        presences: Presences,
        progress: TransferProgress,
        clock: Clock,
        site: SiteName,
        key: str,
    ) -> None:
        self._catalog = catalog
        self._membership = membership
        self._presences = presences
        self._progress = progress
        self._clock = clock
        self._site = site
        self._key = key

    async def peers(self, figures: Figures) -> list[api.PeerStatus]:
        """The other sites, as seen from here."""
        read = self._catalog.read
        readings, heads = await read(queries.readings), await read(queries.heads)
        owed = figures.counted.owed
        sights = await self._presences.sights()
        known = await read(queries.known_to_peers, self._site)
        return [
            api.PeerStatus(
                site=site,
                access=member.access,
                seq=heads.get(site, 0),
                last_heard=last_heard(sights[site], readings.get(site, (None, ""))[0]),
                stalled=readings.get(site, (None, ""))[1],
                link=_link(sights[site]),
                link_since=sights[site].since,
                link_detail=sights[site].detail,
                recovering=list(sights[site].recovering),
                **self._owed(site, owed.get(site)),
                holds_ours=known.get(site, 0),
            )
            for site, member in sorted(self._membership.members.items())
            if site in sights
        ]

    def _owed(self, site: SiteName, owed: tuple[int, int, str] | None) -> dict[str, Any]:
        """What a site owes, since when, its rate, and how long the rest takes at that rate."""
        files, size_bytes, since = owed or (0, 0, "")
        rate = self._progress.rate(site)
        return {
            "owed_files": files,
            "owed_bytes": size_bytes,
            "lag_s": _age_s(since, self._clock.utc()) if since else 0.0,
            "rate_bytes_s": round(rate),
            "catch_up_s": round(size_bytes / rate, 1) if rate and size_bytes else None,
        }

    async def sites(self) -> list[api.Site]:
        """The roster."""
        known = await self._catalog.read(queries.sites, self._site, self._key)
        sights = await self._presences.sights()
        for member in known:
            member.last_heard = last_heard(sights.get(SiteName(member.site)), member.last_heard)
        return known


def _age_s(since: str, now: str) -> float:
    """Seconds between two RFC 3339 times; never below 0, whatever the clock did."""
    return max(0.0, round((datetime.fromisoformat(now) - datetime.fromisoformat(since)).total_seconds(), 3))


def _link(sight: Sight) -> str:
    """A silent site's link is down, whatever the bus says."""
    return "down" if sight.presence is Presence.SILENT else sight.presence.value
