"""For catalogs from before entries had bounds: takes out, once, what was applied beyond the bounds."""

from __future__ import annotations

from sqlalchemy import select, union

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.journal.refold import refold
from librarian_daemon.catalog.meta import get_meta, put_meta
from librarian_daemon.catalog.transaction import Tx
from librarian_protocol.entries import MAX_SIZE_BYTES
from librarian_protocol.names import SiteName

_META = "bounds"
_VERSION = "1"


def refold_once(tx: Tx) -> list[SiteName]:
    """Refold every site that claimed a size above the bound. Idempotent, and done once for each catalog.

    Returns:
        The sites.
    """
    if get_meta(tx.connection, _META) == _VERSION:
        return []
    file, instance, doubt, digest = schema.file.c, schema.instance.c, schema.doubt.c, schema.digest.c
    large = select(file.id).where(file.size_bytes > MAX_SIZE_BYTES)
    said = union(
        select(instance.site).where(instance.size_bytes > MAX_SIZE_BYTES),
        select(file.origin_site).where(file.size_bytes > MAX_SIZE_BYTES, file.origin_site.is_not(None)),
        select(doubt.doubter).where(doubt.file_id.in_(large)),
        select(digest.site).where(digest.file_id.in_(large)),
    )
    sites = sorted(SiteName(site) for site in tx.connection.scalars(said))
    if not sites and tx.connection.scalar(large.limit(1)) is not None:
        sites = [tx.site]  # only withdrawn: of these all are applied again with any site
    for site in sites:
        refold(tx, site)
    put_meta(tx.connection, _META, _VERSION)
    return sites
