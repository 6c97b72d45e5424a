"""The instances that the data plane may serve, from catalog, roster and stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.integrity import instances, scrubbing
from librarian_daemon.dataplane.sender import Holding
from librarian_daemon.mesh.membership import Membership
from librarian_daemon.ports.store import Store
from librarian_protocol.digests import Digest
from librarian_protocol.names import Name, SiteName
from librarian_protocol.offers import is_offered, refusal


class CatalogHoldings:
    """Implements the data plane's ``Holdings``."""

    def __init__(self, catalog: Catalog, membership: Membership, site: SiteName, stores: Mapping[str, Store]) -> None:
        self._catalog = catalog
        self._membership = membership
        self._site = site
        self._stores = stores

    def roster(self) -> Mapping[SiteName, str]:
        """See the port."""
        return self._membership.keys()

    def may_read(self, site: SiteName) -> str:
        """See the port."""
        member = self._membership.members.get(site)
        if member is None:
            return "it is not admitted"
        if member.revoked:
            return "it was revoked"
        return refusal(member.access)

    async def find(self, asker: SiteName, digests: Sequence[Digest]) -> Mapping[Digest, Holding]:
        """See the port."""
        found, chosen = await self._catalog.read(instances.find_for, self._site, asker, digests)
        member = self._membership.members.get(asker)
        bad: dict[Digest, frozenset[str]] = {}
        missing = [digest for digest in digests if digest not in found]
        if missing:
            for digest, (holding, members) in (
                await self._catalog.read(scrubbing.salvage, self._site, missing)
            ).items():
                found[digest], bad[digest] = holding, members
        return {
            digest: Holding(
                name=Name(row.trash) if row.trash else row.name,
                digest=digest,
                unit=row.unit,
                size_bytes=row.size_bytes,
                store=store,
                bad=bad.get(digest, frozenset()),
                offered=member is not None and is_offered(member.access, chosen, row.name),
            )
            for digest, row in found.items()
            if (store := self._stores.get(row.store)) is not None
        }
