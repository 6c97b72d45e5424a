"""The views of reading stores again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.integrity import scrubbing
from librarian_daemon.ports.store import Store
from librarian_daemon.ports.time import Clock
from librarian_daemon.status.census import Figures
from librarian_protocol import api, scrub
from librarian_protocol.display import utc
from librarian_protocol.scrub import Budget


class ScrubViews:
    """Read-only answers."""

    def __init__(
        self, catalog: Catalog, stores: Mapping[str, Store], budgets: Mapping[str, Budget], clock: Clock
    ) -> None:
        """``budgets``: of each store, by its id."""
        self._catalog = catalog
        self._stores = stores
        self._budgets = budgets
        self._clock = clock

    async def scrubs(self, figures: Figures) -> list[api.ScrubStatus]:
        """Each store."""
        frozen = await self._catalog.read(scrubbing.frozen)
        found = [await self._scrub(store, figures) for store in self._stores.values()]
        for status in found:
            if status.store in frozen:
                status.frozen, status.frozen_at = frozen[status.store].reason, frozen[status.store].at
        return found

    async def _scrub(self, store: Store, figures: Figures) -> api.ScrubStatus:
        budget, now = self._budgets[store.id], self._clock.unix_s()
        _, held_bytes = figures.counted.stores.get(store.id, (0, 0))
        last = await self._catalog.read(scrubbing.last_pass, store.id)
        oldest = await self._catalog.read(scrubbing.oldest, store.id)
        ages = await self._catalog.read(scrubbing.ages, store.id, now, held_bytes)
        state = "idle"
        if last is not None and last.ended is None:
            state = "waiting" if budget.hours.closed_s(now) and not last.asked else "reading"
        covered = 1.0 if last is not None and last.ended is not None else 0.0
        if last is not None and last.ended is None and held_bytes:
            covered = min(1.0, last.bytes / held_bytes)
        return api.ScrubStatus(
            store=store.id,
            label=store.label,
            number=last.number if last else 0,
            state=state,
            began_at=utc(last.began) if last else None,
            ended_at=utc(last.ended) if last and last.ended is not None else None,
            files=last.files if last else 0,
            bytes=last.bytes if last else 0,
            held_bytes=held_bytes,
            covered=round(covered, 4),
            bad=last.bad if last else 0,
            oldest_at=oldest or None,
            oldest_s=round(max(0.0, now - datetime.fromisoformat(oldest).timestamp()), 1) if oldest else 0.0,
            every_s=budget.every_s,
            rate_bytes_s=budget.rate,
            miss_s=round(scrub.projected_miss_s(ages, budget), 1),
        )
