"""The views of this site's stores."""

from __future__ import annotations

from collections.abc import Mapping

from librarian_daemon.incidents.store_health import StoreHealth
from librarian_daemon.ports.store import Store
from librarian_daemon.status.census import Figures
from librarian_daemon.status.scrubs import ScrubViews
from librarian_protocol import api


class StoreViews:
    """Read-only answers."""

    def __init__(self, stores: Mapping[str, Store], health: StoreHealth, scrubs: ScrubViews) -> None:
        self.scrubs = scrubs
        self._stores = stores
        self._health = health

    async def stores(self, figures: Figures) -> list[api.StoreStatus]:
        """Each of them."""
        totals = figures.counted.stores
        found: list[api.StoreStatus] = []
        for store in self._stores.values():
            instances, size_bytes = totals.get(store.id, (0, 0))
            seen = await self._health.look(store.id)
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
                    total_bytes=seen.space.total_bytes if seen.space else 0,
                    free_bytes=seen.space.free_bytes if seen.space else 0,
                    problem=seen.code,
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
