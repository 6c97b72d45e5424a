"""Signs again what a wrong key has signed (docs/keys.md). No other site accepts segments with that signature, and later
segments with the right key build on them. Others ask for what they lack, and then get it with a signature that counts.
"""

from __future__ import annotations

import structlog

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.journal import signing
from librarian_daemon.catalog.mesh.roster import known_members
from librarian_daemon.runtime.signals import Signal
from librarian_protocol.keys import SiteKey
from librarian_protocol.names import SiteName

_IDLE_S = 3600.0


class ReSigner:
    """Service. ``wake`` is set when others say that they hold this site's entries back."""

    def __init__(self, catalog: Catalog, site: SiteName, key: SiteKey) -> None:
        self._catalog = catalog
        self._site = site
        self._key = key
        self.wake = Signal()
        #: This site's keys at the last time that its whole journal was found to be signed by them.
        self._good: list[str] | None = None
        self._log = structlog.get_logger("signing")

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            if await self.wake.wait(_IDLE_S):
                await self.look()

    async def look(self) -> int:
        """Check the own journal, once for each set of keys. Returns how many segments were signed again."""
        mine = (await self._catalog.read(known_members)).get(self._site)
        if mine is None or mine.key != self._key.public or self._good == mine.every_key:
            return 0
        number, after = 0, signing.BEGINNING
        while True:
            found, following = await self._catalog.read(signing.wrongly_signed, self._site, self._key.public, after)
            if found:
                await self._catalog.write(signing.sign_again, self._key, found)
                number += len(found)
            if following is None:
                break
            after = following
        self._good = mine.every_key
        if number:
            self._log.warning("signed_again", segments=number)
        return number
