"""The metrics for Prometheus. Labels are bounded: never a file's name, never a path."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePath

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.registry import Collector

from librarian_daemon.runtime.version import VERSION
from librarian_protocol.names import SiteName


def drop_labels(paths: Sequence[str]) -> dict[str, str]:
    """The label of each drop directory: the last part of its path, with a number if others have the same."""
    labels: dict[str, str] = {}
    for path in paths:
        name = PurePath(path).name
        same = sum(PurePath(other).name == name for other in labels)
        labels[path] = f"{name}-{same + 1}" if same else name
    return labels


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes since the daemon began."""

    ingested_bytes: float
    received_bytes: float


class _OfSite(Collector):
    """The metrics of a registry, with the site's name on each sample: boards and alerts show names, not addresses."""

    def __init__(self, registry: CollectorRegistry, site: str) -> None:
        self._registry = registry
        self._site = site

    def collect(self) -> Iterable[Metric]:
        """Each family."""
        for family in self._registry.collect():
            family.samples = [
                sample._replace(labels={"site": self._site, **sample.labels}) for sample in family.samples
            ]
            yield family


class Metrics:
    """The metrics of one daemon, in a registry of its own."""

    def __init__(self, site: SiteName) -> None:
        self._site = site
        self.registry = CollectorRegistry()
        registry = self.registry
        Gauge("librarian_build_info", "Version of the software.", ["version"], registry=registry).labels(VERSION).set(1)
        self.intake_files = Counter(
            "librarian_intake_files_total",
            "Files and books taken from drop directories.",
            ["outcome"],
            registry=registry,
        )
        self.intake_bytes = Counter(
            "librarian_intake_bytes_total", "Bytes taken from drop directories.", registry=registry
        )
        for outcome in ("accepted", "refused"):
            self.intake_files.labels(outcome=outcome)  # a rate needs the 0 before the first
        self.journal_seq = Gauge("librarian_journal_entries", "Entries in the site's own journal.", registry=registry)
        self.outbox_segments = Gauge(
            "librarian_outbox_segments", "Segments that the bus has not acknowledged.", registry=registry
        )
        self.published_segments = Counter(
            "librarian_published_segments_total", "Segments acknowledged by the bus.", registry=registry
        )
        self.applied_entries = Counter(
            "librarian_applied_entries_total", "Entries of peers applied to the catalog.", ["peer"], registry=registry
        )
        self.refused_messages = Counter(
            "librarian_refused_messages_total", "Messages that were not believed.", ["peer"], registry=registry
        )
        self.counted = Gauge(
            "librarian_counted_timestamp_seconds",
            "When transfers, outbox and what is owed were counted.",
            registry=registry,
        )
        self.transfers = Gauge("librarian_transfers", "Transfers by state.", ["state"], registry=registry)
        self.stored_files = Counter(
            "librarian_stored_files_total", "Files brought by transfers.", ["peer", "adapter"], registry=registry
        )
        self.stored_bytes = Counter(
            "librarian_stored_bytes_total", "Bytes brought by transfers.", ["peer", "adapter"], registry=registry
        )
        self.failed_attempts = Counter(
            "librarian_failed_attempts_total", "Attempts that failed.", ["peer", "reason"], registry=registry
        )
        self.batch_seconds = Histogram(
            "librarian_batch_seconds", "How long batches took.", ["adapter"], registry=registry
        )
        self.notifications = Counter(
            "librarian_notifications_total",
            "Messages to people about incidents.",
            ["channel", "outcome"],
            registry=registry,
        )
        self.suspected_instances = Counter(
            "librarian_suspected_instances_total", "Own instances found wrong when read again.", registry=registry
        )
        self.evictions = Counter(
            "librarian_evictions_total",
            "Instances that were to be given up, by how round 1 ended: trashed, unfit, or why not.",
            ["outcome"],
            registry=registry,
        )
        self.evicted_files = Counter(
            "librarian_evicted_files_total", "Instances that were given up.", registry=registry
        )
        self.evicted_bytes = Counter("librarian_evicted_bytes_total", "Bytes of these.", registry=registry)
        self.incidents = Gauge(
            "librarian_open_incidents", "Open incidents by code.", ["code", "severity"], registry=registry
        )
        self.failing_views = Gauge(
            "librarian_failing_views",
            "Sections of status, page and metrics that could not be made; those figures are old.",
            registry=registry,
        )
        self.bus_connected = Gauge("librarian_bus_connected", "1 while the bus is connected.", registry=registry)
        self.bus_unsafe = Gauge(
            "librarian_bus_unsafe", "1 while the bus can lose what it acknowledged.", registry=registry
        )
        self.catalog_writable = Gauge(
            "librarian_catalog_writable", "0 while commits fail, or one takes long.", registry=registry
        )
        self.recovering = Gauge(
            "librarian_recovering",
            "1 in quarantine after the catalog was restored.",
            registry=registry,
        )
        self.audited = Gauge(
            "librarian_audit_timestamp_seconds", "When the catalog was last audited; 0 for never.", registry=registry
        )
        self.reconciled = Gauge(
            "librarian_store_reconciled_timestamp_seconds",
            "When the store was last held against the catalog.",
            ["store"],
            registry=registry,
        )
        self.scrubbed_bytes = Counter(
            "librarian_scrubbed_bytes_total", "Bytes read again and found right.", ["store"], registry=registry
        )
        self.scrub_pass = Gauge(
            "librarian_scrub_pass", "Number of the last pass over the store.", ["store"], registry=registry
        )
        self.scrub_covered = Gauge(
            "librarian_scrub_covered_ratio",
            "How much of the store the present pass has read, or the last one had; 1 is all of it.",
            ["store"],
            registry=registry,
        )
        self.scrub_oldest = Gauge(
            "librarian_scrub_oldest_seconds",
            "How long ago the least recently verified instance of the store was read.",
            ["store"],
            registry=registry,
        )
        self.scrub_miss = Gauge(
            "librarian_scrub_projected_miss_seconds",
            "By how much some instance will have been unread for longer than scrub.every; 0 where none will.",
            ["store"],
            registry=registry,
        )
        self.store_frozen = Gauge(
            "librarian_store_frozen", "1 while the store neither vouches nor evicts.", ["store"], registry=registry
        )
        self.audit_ok = Gauge("librarian_audit_ok", "1 if the last audit found nothing.", registry=registry)
        self.parked = Gauge("librarian_parked_transfers", "Parked transfers by reason.", ["reason"], registry=registry)
        self.only_here_files = Gauge(
            "librarian_only_here_files",
            "Files of which this site holds the only good instances: safe nowhere else.",
            registry=registry,
        )
        self.only_here_bytes = Gauge(
            "librarian_only_here_bytes", "Bytes of files that are safe nowhere else.", registry=registry
        )
        self.peer_link = Gauge(
            "librarian_peer_link_up",
            "1 while the peer is heard, 0 while it is silent or cannot be read.",
            ["peer"],
            registry=registry,
        )
        self.peer_heard = Gauge(
            "librarian_peer_last_heard_timestamp_seconds", "When a peer was last heard.", ["peer"], registry=registry
        )
        self.peer_owed_files = Gauge(
            "librarian_peer_owed_files", "Files that are still to come from a peer.", ["peer"], registry=registry
        )
        self.peer_owed_bytes = Gauge(
            "librarian_peer_owed_bytes", "Bytes that are still to come from a peer.", ["peer"], registry=registry
        )
        self.peer_lag = Gauge(
            "librarian_peer_lag_seconds", "Age of the oldest file that a peer still owes.", ["peer"], registry=registry
        )
        self.store_up = Gauge("librarian_store_up", "1 while the store can be used.", ["store"], registry=registry)
        self.store_writable = Gauge(
            "librarian_store_writable",
            "1 while a small file can be written into the store; 0 where it is full or read-only.",
            ["store"],
            registry=registry,
        )
        self.store_size = Gauge(
            "librarian_store_size_bytes", "Size of the store's filesystem.", ["store"], registry=registry
        )
        self.store_takes = Gauge(
            "librarian_store_takes", "1 unless a person keeps new files from the store.", ["store"], registry=registry
        )
        self.store_reserve = Gauge(
            "librarian_store_reserve_bytes", "Free space that stays free.", ["store"], registry=registry
        )
        self.store_promised = Gauge(
            "librarian_store_promised_bytes",
            "Bytes that transfers and intake are about to write.",
            ["store"],
            registry=registry,
        )
        self.store_free = Gauge(
            "librarian_store_free_bytes", "Free bytes of the store's filesystem.", ["store"], registry=registry
        )
        self.intake_waiting = Gauge(
            "librarian_intake_waiting",
            "Dropped things that are not accepted yet.",
            ["drop"],
            registry=registry,
        )
        self.intake_paused = Gauge(
            "librarian_intake_paused", "1 while a drop directory is paused.", ["drop"], registry=registry
        )

        self.paused = Gauge(
            "librarian_paused",
            "1 while a person has paused intake, transfers, or what is exchanged with a peer.",
            ["what", "peer"],
            registry=registry,
        )

    def totals(self) -> Totals:
        """Bytes ingested and fetched since the daemon began."""
        return Totals(ingested_bytes=_sum(self.intake_bytes), received_bytes=_sum(self.stored_bytes))

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(_OfSite(self.registry, self._site))


def _sum(counter: Counter) -> float:
    return sum(
        sample.value for family in counter.collect() for sample in family.samples if sample.name.endswith("_total")
    )
