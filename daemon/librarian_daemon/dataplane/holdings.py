"""What the data plane needs of catalog, roster and stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from librarian_daemon.catalog import holdings, offers
from librarian_daemon.catalog.writer import Catalog
from librarian_daemon.giving import Holding
from librarian_daemon.membership import Membership
from librarian_daemon.ports import Store
from librarian_protocol import offers as offering
from librarian_protocol.digests import Digest
from librarian_protocol.names import SiteName


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
        return offering.refusal(member.access)

    async def find(self, asker: SiteName, digests: Sequence[Digest]) -> Mapping[Digest, Holding]:
        """See the port."""
        found = await self._catalog.read(holdings.find, self._site, digests)
        chosen = await self._catalog.read(offers.of, asker)
        member = self._membership.members.get(asker)
        return {
            digest: Holding(
                name=one.name,
                digest=digest,
                unit=one.unit,
                size_bytes=one.size_bytes,
                store=store,
                offered=member is not None and offering.is_offered(member.access, chosen, one.name),
            )
            for digest, one in found.items()
            if (store := self._stores.get(one.store)) is not None
        }
