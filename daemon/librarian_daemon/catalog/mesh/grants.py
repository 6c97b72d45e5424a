"""What intake asks of names, in one read: what stands under them, and what this site may ingest."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from librarian_daemon.catalog.landings import standing
from librarian_daemon.catalog.mesh.roster import grants_of
from librarian_daemon.ports.ledger import NameStatus
from librarian_protocol.digests import Digest
from librarian_protocol.names import Name, SiteName


def standing_and_grants(
    connection: Connection, site: SiteName, store: str, files: Sequence[tuple[Name, Digest]]
) -> tuple[list[tuple[NameStatus, str]], list[str] | None]:
    """As :func:`standing`, and the site's grants as :func:`grants_of`."""
    return standing(connection, store, files), grants_of(connection, site)
