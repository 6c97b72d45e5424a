"""What a daemon answers to anybody on TCP, and what it does not; and how it looks to Prometheus."""

from __future__ import annotations

import sqlite3
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from tests.support.oracle import some_bytes
from tests.support.sites import Site, free_port, pair, sites, wait_for


def get(site: Site, path: str, port: int = 0) -> tuple[int, str]:
    """Status and text of a plain GET to the site's data address, or to another port."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port or site.data_port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read().decode()


def samples(site: Site) -> dict[str, float]:
    """Every sample of ``/metrics``, by its name and labels."""
    _, text = get(site, "/metrics", site.metrics_port)
    return {
        sample.name
        + "".join(f" {key}={value}" for key, value in sorted(sample.labels.items()) if key != "site"): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_count_what_happened_and_never_name_a_file(tmp_path: Path) -> None:
    """One file arrives; both sites' figures say so, with bounded labels."""
    with pair(tmp_path) as both:
        both.source.drop_file("secret-target.dat", some_bytes(4096))
        both.acknowledged(1)
        assert samples(both.source)["librarian_audit_timestamp_seconds"] == 0
        both.source.lbctl("events", "audit")
        source, destination = samples(both.source), samples(both.destination)
        _, text = get(both.destination, "/metrics", both.destination.metrics_port)
        for site in both.sites:
            assert get(site, "/metrics")[0] == 404
            assert get(site, "/livez", site.metrics_port)[0] == 404
    assert source["librarian_intake_files_total outcome=accepted"] == 1
    assert source["librarian_outbox_segments"] == 0
    assert source["librarian_bus_connected"] == 1
    assert source["librarian_audit_ok"] == 1
    assert source["librarian_audit_timestamp_seconds"] > 0
    assert destination["librarian_stored_files_total adapter=http peer=summit"] == 1
    assert destination["librarian_stored_bytes_total adapter=http peer=summit"] == 4096
    assert destination["librarian_transfers state=stored"] == 1
    assert destination["librarian_applied_entries_total peer=summit"] >= 1
    assert destination["librarian_peer_link_up peer=summit"] == 1
    assert destination["librarian_peer_owed_files peer=summit"] == 0
    assert destination["librarian_store_free_bytes store=main"] > 0
    assert destination["librarian_open_incidents code=conflict severity=warning"] == 0
    assert destination["librarian_intake_paused drop=drop"] == 0
    assert destination["librarian_intake_waiting drop=drop-books"] == 0
    assert str(tmp_path) not in text
    assert "secret-target" not in text
    assert "_created" not in text
    assert text.count('site="archive"') == sum(not line.startswith("#") for line in text.splitlines())


def test_readiness_follows_the_bus_and_liveness_does_not(tmp_path: Path) -> None:
    """A site without its bus is alive, not ready, and says what is missing; it is ready again with the bus."""
    site = Site(tmp_path / "summit", "summit", bus=f"embedded:{free_port()}")
    with sites(site):
        site.start()
        wait_for("ready", lambda: get(site, "/readyz") == (200, "ok\n"), site)
        assert site.kill_bus()
        wait_for("not ready", lambda: get(site, "/readyz") == (503, "not ready: bus\n"), site)
        assert get(site, "/livez") == (200, "ok\n")
        wait_for("ready again", lambda: get(site, "/readyz")[0] == 200, site)


def test_a_part_of_the_catalog_that_cannot_be_read_is_named_and_all_else_is_shown(tmp_path: Path) -> None:
    """By status, page, metrics, doctor and explain; the site is not ready meanwhile; then it is again."""
    page = {"LIBRARIAN_PAGE__LISTEN": "127.0.0.1:0"}
    site = Site(tmp_path / "summit", "summit", bus=f"embedded:{free_port()}", overlay=page)
    with sites(site):
        site.start()
        site.drop_file("a.dat", b"known")
        wait_for("ready", lambda: get(site, "/readyz") == (200, "ok\n"), site)
        wait_for("ingested", lambda: site.client.status().counts.files == 1, site)
        for table in ("conflict", "transfer"):
            _renamed(site, table, f"{table}_away")
        status = site.client.status()
        assert str(site.drop) in {drop.path for drop in status.intake}
        assert status.bus.connected
        subjects = ", ".join(site.problems()["view-failed"])
        assert {"conflicts", "counts", "parked transfers"} <= set(subjects.split(", "))
        assert site.status_code() == 1
        ready, why = get(site, "/readyz")
        assert ready == 503
        assert "not ready: view counts\n" in why
        with urllib.request.urlopen(status.page, timeout=10) as answer:
            assert "parked transfers" in answer.read().decode()
        figures = samples(site)
        assert figures["librarian_failing_views"] >= 3
        assert figures["librarian_store_free_bytes store=main"] > 0
        assert "store main" in site.lbctl("doctor")
        for table in ("conflict", "transfer"):
            _renamed(site, f"{table}_away", table)
        assert "view-failed" not in site.problems()
        wait_for("ready again", lambda: get(site, "/readyz") == (200, "ok\n"), site)


def _renamed(site: Site, table: str, to: str) -> None:
    """Behind the daemon's back."""
    with closing(sqlite3.connect(site.root / "catalog.sqlite", timeout=30, isolation_level=None)) as connection:
        connection.execute("PRAGMA legacy_alter_table=ON")
        connection.execute(f"ALTER TABLE {table} RENAME TO {to}")


def test_the_control_api_does_not_exist_on_tcp(tmp_path: Path) -> None:
    """Only the unix socket has it, and only its owner may open that."""
    site = Site(tmp_path / "summit", "summit", bus=f"embedded:{free_port()}")
    with sites(site):
        site.start()
        for path in ("/api/v1/status", "/api/v1/invite", "/api/v1/files", "/"):
            assert get(site, path)[0] == 404
        assert (site.root / "lbd.sock").stat().st_mode & 0o777 == 0o600
