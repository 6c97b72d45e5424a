"""Going over to another site key (docs/keys.md).

``site.key.next`` waits beside the key since ``lbctl site rekey``. At the start the change is said under the old key, as
the last thing that it signs; then the file takes the key's place. A crash between the two is found at the next start:
the journal has the entry already.
"""

from __future__ import annotations

import os
from pathlib import Path

import structlog

from librarian_daemon import host
from librarian_daemon.catalog.roster import known_members
from librarian_daemon.catalog.writer import Catalog, Tx
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
    new = host.load_key(waiting)

    def work(tx: Tx) -> None:
        mine = known_members(tx.connection).get(site)
        # A site that is of no mesh yet just takes another key: nobody knows the first one.
        if mine is not None and mine.key != new.public:
            tx.say(SiteRekeyed(key=new.public))

    await catalog.write(work)
    catalog.use_key(new)
    waiting.replace(directory / "site.key")
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    _log.warning("site_rekeyed", old=fingerprint(key.public), new=fingerprint(new.public))
    return new
