"""Updates the metrics when Prometheus asks, without a scan of the catalog."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.incidents import incidents
from librarian_daemon.catalog.journal import quarantine
from librarian_daemon.incidents.recorder import CatalogIncidents
from librarian_daemon.incidents.store_health import StoreHealth
from librarian_daemon.journal import audit_result
from librarian_daemon.ports.bus import BusHealth
from librarian_daemon.ports.store import Store
from librarian_daemon.runtime.metrics import Metrics, drop_labels
from librarian_daemon.status.status import IntakeView, Views
from librarian_protocol import api, pausing
from librarian_protocol.incidents import CODES, about
from librarian_protocol.transfer import Reason, State


class Scraper:
    """Read-only."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        bus: BusHealth,
        stores: Mapping[str, Store],
        health: StoreHealth,
        intakes: Sequence[IntakeView],
        views: Views,
        incidents: CatalogIncidents,
        metrics: Metrics,
        state: Path,
    ) -> None:
        self._catalog = catalog
        self._bus = bus
        self._stores = stores
        self._health = health
        self._intakes = intakes
        self._views = views
        self._incidents = incidents
        self._metrics = metrics
        self._state = state
        #: Number of refused entries of each drop directory at the last scrape.
        self._refused: dict[str, int] = {}

    async def scrape(self) -> bytes:
        """The metrics, brought up to date. Figures that need a scan of the catalog have the age of the census."""
        metrics = self._metrics
        made, sections = self._views.sections.made, self._views.sections
        figures = await self._views.figures()
        counted = figures.counted
        metrics.counted.set(datetime.fromisoformat(figures.at).timestamp())
        metrics.journal_seq.set(self._catalog.position.seq)
        metrics.outbox_segments.set(counted.outbox)
        metrics.only_here_files.set(counted.only_here[0])
        metrics.only_here_bytes.set(counted.only_here[1])
        for state in State:
            metrics.transfers.labels(state=state.value).set(counted.transfers.get(state.value, 0))
        counted_incidents = await made("incident gauges", self._catalog.read(incidents.count_open), {})
        self._scrape_incidents(counted_incidents, self._incidents.not_kept())
        metrics.catalog_writable.set(not self._catalog.trouble)
        bus = self._bus.state()
        metrics.bus_connected.set(bus.connected)
        metrics.bus_unsafe.set(bool(bus.unsafe))
        metrics.recovering.set(await made("recovery", self._catalog.read(quarantine.state), None) is not None)
        audit = audit_result.last(self._state)
        metrics.audited.set(datetime.fromisoformat(audit.at).timestamp() if audit else 0)
        metrics.audit_ok.set(audit is not None and audit.ok)
        for reason in Reason:  # all of them: an alert must see 0 before 1
            metrics.parked.labels(reason=reason.value).set(counted.parked.get(reason.value, 0))
        self._scrape_peers(await made("peers", self._views.peers.peers(figures), []))
        await self._scrape_stores(await self._views.stores())
        self._scrape_scrubs(await made("scrub", self._views.scrubs(), []))
        self._scrape_pauses()
        metrics.failing_views.set(len(sections.failing))
        drops = [intake.snapshot() for intake in self._intakes]
        labels = drop_labels([seen.path for seen in drops])
        for seen in drops:
            drop = labels[seen.path]
            metrics.intake_waiting.labels(drop=drop).set(seen.waiting)
            metrics.intake_paused.labels(drop=drop).set(seen.state == "paused")
            metrics.intake_files.labels(outcome="refused").inc(seen.refused - self._refused.get(seen.path, 0))
            self._refused[seen.path] = seen.refused
        return metrics.text()

    def _scrape_incidents(self, found: Mapping[tuple[str, bool], int], not_kept: Sequence[api.Problem]) -> None:
        gauge = self._metrics.incidents
        gauge.clear()
        for code, about_code in CODES.items():  # all of them: an alert must see 0 before 1
            gauge.labels(code=code, severity=about_code.severity.value).set(0)
        for (code, _), number in found.items():
            gauge.labels(code=code, severity=about(code).severity.value).inc(number)
        for problem in not_kept:
            gauge.labels(code=problem.code, severity=about(problem.code).severity.value).inc()

    def _scrape_scrubs(self, found: Sequence[api.ScrubStatus]) -> None:
        metrics = self._metrics
        for status in found:
            metrics.scrub_pass.labels(store=status.label).set(status.number)
            metrics.scrub_covered.labels(store=status.label).set(status.covered)
            metrics.scrub_oldest.labels(store=status.label).set(status.oldest_s)
            metrics.scrub_miss.labels(store=status.label).set(status.miss_s)
            metrics.store_frozen.labels(store=status.label).set(bool(status.frozen))

    def _scrape_pauses(self) -> None:
        gauge = self._metrics.paused
        gauge.clear()
        for what in (pausing.INTAKE, pausing.TRANSFERS):  # an alert must see 0 before 1
            gauge.labels(what=what, peer="").set(0)
        for pause in self._views.transfers.pauses():
            peer = pausing.peer_of(pause.what)
            gauge.labels(what="peer" if peer else pause.what, peer=peer or "").set(1)

    def _scrape_peers(self, peers: Sequence[api.PeerStatus]) -> None:
        metrics = self._metrics
        for gauge in (metrics.peer_link, metrics.peer_heard, metrics.peer_owed_files, metrics.peer_owed_bytes):
            gauge.clear()
        metrics.peer_lag.clear()
        for peer in peers:
            metrics.refused_messages.labels(peer=peer.site)
            if peer.link != "unknown":
                metrics.peer_link.labels(peer=peer.site).set(peer.link == "up")
            if peer.last_heard:
                metrics.peer_heard.labels(peer=peer.site).set(datetime.fromisoformat(peer.last_heard).timestamp())
            metrics.peer_owed_files.labels(peer=peer.site).set(peer.owed_files)
            metrics.peer_owed_bytes.labels(peer=peer.site).set(peer.owed_bytes)
            metrics.peer_lag.labels(peer=peer.site).set(peer.lag_s)

    async def _scrape_stores(self, seen_stores: Sequence[api.StoreStatus]) -> None:
        metrics = self._metrics
        for shown in seen_stores:
            metrics.store_takes.labels(store=shown.label).set(shown.active and shown.ingestable)
            metrics.store_reserve.labels(store=shown.label).set(shown.reserve_bytes)
            metrics.store_promised.labels(store=shown.label).set(shown.promised_bytes)
        for store in self._stores.values():
            seen = await self._health.look(store.id)
            metrics.store_up.labels(store=store.label).set(seen.serves)
            metrics.store_writable.labels(store=store.label).set(not seen.code)
            if seen.space is not None:
                metrics.store_size.labels(store=store.label).set(seen.space.total_bytes)
                metrics.store_free.labels(store=store.label).set(seen.space.free_bytes)
