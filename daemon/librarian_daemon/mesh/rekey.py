"""Changes to another site key (docs/keys.md).

``lbctl site rekey`` puts ``site.key.next`` beside the key. At the start the change is appended under the old key, as
the last entry that it signs; then the file replaces the key. A crash between the two is found at the next start: the
journal already has the entry.
"""

from __future__ import annotations

import os
from pathlib import Path

import structlog

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.journal import standings
from librarian_daemon.catalog.mesh import own_key
from librarian_daemon.catalog.mesh.roster import known_members
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.runtime import machine
from librarian_protocol.entries import SiteRekeyed
from librarian_protocol.keys import SiteKey, fingerprint
from librarian_protocol.names import SiteName

_log = structlog.get_logger(__name__)


async def go_over(catalog: Catalog, site: SiteName, key: SiteKey, directory: Path) -> SiteKey:
    """The key to go on with: the waiting one, where there is one. Idempotent.

    Raises:
        ConfigInvalid: the waiting file holds no key.
    """
    waiting = directory / "site.key.next"
    if not waiting.exists():
        return key
    new = machine.load_key(waiting)

    def work(tx: Tx) -> bool:
        mine = known_members(tx.connection).get(site)
        if mine is None and own_key.has_spoken(tx.connection, site):
            return False
        if mine is not None and mine.key != new.public:
            ends = [tip for tip in standings.tips(tx.connection, site) if tip.hash != tx.position.hash]
            tx.append(SiteRekeyed(key=new.public, tips=ends))
        own_key.note(tx, new.public)
        return True

    if not await catalog.write(work):
        # A site that admits it later knows only one key. With another key, nothing that it said before would count.
        _log.error("site_not_rekeyed", reason="this site is of no mesh yet", waiting=str(waiting))
        return key
    catalog.use_key(new)
    waiting.replace(directory / "site.key")
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    _log.warning("site_rekeyed", old=fingerprint(key.public), new=fingerprint(new.public))
    return new
