"""The views of this site's stores."""

from __future__ import annotations

from collections.abc import Mapping

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.stores import attached, promises
from librarian_daemon.catalog.stores.attached import Usable
from librarian_daemon.incidents.store_health import StoreHealth
from librarian_daemon.ports.store import Store
from librarian_daemon.status.census import Figures
from librarian_daemon.status.scrubs import ScrubViews
from librarian_daemon.status.sections import Sections
from librarian_protocol import api
from librarian_protocol.names import SiteName
from librarian_protocol.store_settings import StoreValues, reserve_bytes


class StoreViews:
    """Read-only answers."""

    def __init__(
        self,
        catalog: Catalog,
        site: SiteName,
        stores: Mapping[str, Store],
        health: StoreHealth,
        sections: Sections,
        scrubs: ScrubViews,
    ) -> None:
        self.scrubs = scrubs
        self._sections = sections
        self._catalog = catalog
        self._site = site
        self._stores = stores
        self._health = health

    async def stores(self, figures: Figures) -> list[api.StoreStatus]:
        """Each of them."""
        totals = figures.counted.stores
        none_used: dict[str, Usable] = {}
        used = await self._sections.made("stores", self._catalog.read(attached.usable, self._site), none_used)
        none_promised: dict[str, int] = {}
        promised = await self._sections.made("promises", self._catalog.read(promises.promised), none_promised)
        found: list[api.StoreStatus] = []
        for store in self._stores.values():
            instances, size_bytes = totals.get(store.id, (0, 0))
            seen = await self._health.look(store.id)
            total_bytes = seen.space.total_bytes if seen.space else 0
            values = used[store.id].values if store.id in used else StoreValues()
            found.append(
                api.StoreStatus(
                    id=store.id,
                    label=store.label,
                    role=store.role.value,
                    technology="posix",
                    path=store.location,
                    state=seen.message or "ok",
                    instances=instances,
                    size_bytes=size_bytes,
                    total_bytes=total_bytes,
                    free_bytes=seen.space.free_bytes if seen.space else 0,
                    problem=seen.code,
                    active=values.active,
                    ingestable=values.ingestable,
                    priority=values.priority,
                    reserve_bytes=reserve_bytes(values.reserve, total_bytes),
                    promised_bytes=promised.get(store.id, 0),
                )
            )
        return found

    async def missing(self) -> dict[str, str]:
        """The stores whose files cannot be read, and why."""
        missing: dict[str, str] = {}
        for store in self._stores.values():
            seen = await self._health.look(store.id)
            if not seen.serves:
                missing[f"store {store.label}"] = seen.message
        return missing
