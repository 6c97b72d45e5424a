"""What a daemon answers to anybody on TCP, and what it does not; and how it looks to Prometheus."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from tests.support.oracle import some_bytes
from tests.support.sites import Site, free_port, pair, sites, wait_for


def get(site: Site, path: str) -> tuple[int, str]:
    """Status and text of a plain GET to the site's TCP address."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{site.data_port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read().decode()


def samples(site: Site) -> dict[str, float]:
    """Every sample of ``/metrics``, by its name and labels."""
    _, text = get(site, "/metrics")
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
        _, text = get(both.destination, "/metrics")
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
    assert destination[f"librarian_intake_paused drop={both.destination.drop}"] == 0
    assert "secret-target" not in text
    assert text.count('site="archive"') == sum(not line.startswith("#") for line in text.splitlines())


def test_readiness_follows_the_bus_and_liveness_does_not(tmp_path: Path) -> None:
    """A site without its bus is alive, not ready, and says why; it is ready again when the bus is back."""
    site = Site(tmp_path / "summit", "summit", bus=f"embedded:{free_port()}")
    with sites(site):
        site.start()
        wait_for("ready", lambda: get(site, "/readyz") == (200, "ok\n"), site)
        assert site.kill_bus()
        wait_for("not ready", lambda: get(site, "/readyz")[0] == 503, site)
        assert get(site, "/livez") == (200, "ok\n")
        wait_for("ready again", lambda: get(site, "/readyz")[0] == 200, site)


def test_the_control_api_does_not_exist_on_tcp(tmp_path: Path) -> None:
    """Only the unix socket has it, and only its owner may open that."""
    site = Site(tmp_path / "summit", "summit", bus=f"embedded:{free_port()}")
    with sites(site):
        site.start()
        for path in ("/api/v1/status", "/api/v1/invite", "/api/v1/files", "/"):
            assert get(site, path)[0] == 404
        assert (site.root / "lbd.sock").stat().st_mode & 0o777 == 0o600
