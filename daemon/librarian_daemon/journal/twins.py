"""A twin: another daemon that runs with this site's key. Its heads come to this site as its own do."""

from __future__ import annotations

import structlog

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.journal import quarantine
from librarian_daemon.ports.incidents import Incidents
from librarian_protocol import heads
from librarian_protocol.errors import PeerError
from librarian_protocol.names import SiteName


class Twins:
    """Tells this site's own heads from those of another daemon that has its key."""

    def __init__(self, catalog: Catalog, incidents: Incidents, site: SiteName, key: str, before: str) -> None:
        """``key`` is the site's public key, ``before`` the incarnation of the previous daemon."""
        self._catalog = catalog
        self._incidents = incidents
        self._site = site
        self._key = key
        #: Heads that the previous daemon announced may still arrive, once. If they arrive again, a twin announces them.
        self._before, self._before_heard = before, 0
        #: Incarnations of this daemon.
        self._mine: set[str] = set()
        self._log = structlog.get_logger("heads")

    def announced(self, incarnation: str) -> None:
        """This daemon announces heads of that incarnation."""
        self._mine.add(incarnation)

    async def hear_own(self, message: bytes) -> None:
        """Handle heads of this site. Its own come back to it; those of another daemon with its key reveal a twin."""
        try:
            found = heads.open_signed(message, site=self._site, key=self._key).incarnation
        except PeerError as exc:
            self._log.warning("heads_refused", peer=self._site, error=exc.message)
            return
        if not found or found in self._mine | {self._catalog.position.incarnation}:
            return
        if found == self._before:
            self._before_heard += 1
            if self._before_heard == 1:
                return
        known = await self._catalog.read(quarantine.state)
        if known is None or known.twin != found:
            self._log.error("twin", incarnation=found)
            await self._catalog.write(quarantine.twin, found)
            await self._incidents.resolve("catalog-behind", self._site)
        await self._incidents.open(
            "twin",
            self._site,
            f"another daemon runs as site {self._site} (incarnation {found}): its directory was copied, and both run",
            "stop the other one for good, then restart this daemon; nothing is vouched for meanwhile",
        )
