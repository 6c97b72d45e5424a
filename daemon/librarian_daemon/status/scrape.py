"""What Prometheus is told when it asks: figures brought up to date, without a scan of the catalog."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from librarian_daemon import audited
from librarian_daemon.catalog import incidents as kept
from librarian_daemon.catalog import recovery
from librarian_daemon.catalog.writer import Catalog
from librarian_daemon.census import Census
from librarian_daemon.metrics import Metrics
from librarian_daemon.ports import Bus, Store
from librarian_daemon.views import IntakeView, Views
from librarian_protocol import api
from librarian_protocol.errors import StoreError
from librarian_protocol.incidents import CODES, about
from librarian_protocol.transfer import Reason, State


class Scraper:
    """Read-only."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        bus: Bus,
        stores: Mapping[str, Store],
        intakes: Sequence[IntakeView],
        views: Views,
        census: Census,
        metrics: Metrics,
        state: Path,
    ) -> None:
        self._catalog = catalog
        self._bus = bus
        self._stores = stores
        self._intakes = intakes
        self._views = views
        self._census = census
        self._metrics = metrics
        self._state = state
        #: How many things each drop directory had refused when last asked.
        self._refused: dict[str, int] = {}

    async def scrape(self) -> bytes:
        """The metrics, brought up to date. What would take a scan of the catalog is as old as the census says."""
        metrics = self._metrics
        figures = await self._census.figures()
        counted = figures.counted
        metrics.counted.set(datetime.fromisoformat(figures.at).timestamp())
        metrics.journal_seq.set(self._catalog.position.seq)
        metrics.outbox_segments.set(counted.outbox)
        for state in State:
            metrics.transfers.labels(state=state.value).set(counted.transfers.get(state.value, 0))
        self._scrape_problems(await self._catalog.read(kept.open_incidents, 1000))
        bus = self._bus.state()
        metrics.bus_connected.set(bus.connected)
        metrics.bus_unsafe.set(bool(bus.unsafe))
        metrics.recovering.set(await self._catalog.read(recovery.state) is not None)
        audit = audited.last(self._state)
        metrics.audited.set(datetime.fromisoformat(audit.at).timestamp() if audit else 0)
        metrics.audit_ok.set(audit is not None and audit.ok)
        for reason in Reason:  # all of them: an alert must see 0 before 1
            metrics.parked.labels(reason=reason.value).set(counted.parked.get(reason.value, 0))
        self._scrape_peers(await self._views.peers(figures))
        await self._scrape_stores()
        for intake in self._intakes:
            seen = intake.snapshot()
            metrics.intake_waiting.labels(drop=seen.path).set(seen.waiting)
            metrics.intake_paused.labels(drop=seen.path).set(seen.state == "paused")
            metrics.intake_files.labels(outcome="refused").inc(seen.refused - self._refused.get(seen.path, 0))
            self._refused[seen.path] = seen.refused
        return metrics.text()

    def _scrape_problems(self, found: Sequence[api.Problem]) -> None:
        gauge = self._metrics.incidents
        gauge.clear()
        for code, about_code in CODES.items():  # all of them: an alert must see 0 before 1
            gauge.labels(code=code, severity=about_code.severity.value).set(0)
        for one in found:
            gauge.labels(code=one.code, severity=about(one.code).severity.value).inc()

    def _scrape_peers(self, peers: Sequence[api.PeerStatus]) -> None:
        metrics = self._metrics
        for gauge in (metrics.peer_link, metrics.peer_heard, metrics.peer_owed_files, metrics.peer_owed_bytes):
            gauge.clear()
        metrics.peer_lag.clear()
        for one in peers:
            metrics.refused_messages.labels(peer=one.site)
            metrics.peer_link.labels(peer=one.site).set(one.link == "up")
            if one.last_heard:
                metrics.peer_heard.labels(peer=one.site).set(datetime.fromisoformat(one.last_heard).timestamp())
            metrics.peer_owed_files.labels(peer=one.site).set(one.owed_files)
            metrics.peer_owed_bytes.labels(peer=one.site).set(one.owed_bytes)
            metrics.peer_lag.labels(peer=one.site).set(one.lag_s)

    async def _scrape_stores(self) -> None:
        metrics = self._metrics
        for store in self._stores.values():
            try:
                space = await store.space()
            except StoreError:
                metrics.store_up.labels(store=store.label).set(0)
                continue
            metrics.store_up.labels(store=store.label).set(1)
            metrics.store_size.labels(store=store.label).set(space.total_bytes)
            metrics.store_free.labels(store=store.label).set(space.free_bytes)
