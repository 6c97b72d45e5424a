"""The shipped alerts fire through a real Prometheus and a real Alertmanager, for the causes they are meant for."""

from __future__ import annotations

from pathlib import Path

from tests.support.mounts import tmpfs
from tests.support.observing import observed
from tests.support.oracle import some_bytes
from tests.support.sites import Site, free_port, pair, sites, wait_for


def test_a_peer_that_is_killed_is_told_of_and_so_is_that_it_came_back(tmp_path: Path) -> None:
    soon = {"# heads_every_s = 30.0": "heads_every_s = 1.0"}  # who tells none for three times as long is silent
    with pair(tmp_path, changed=soon) as both, observed(tmp_path / "observed", both.sites) as seen:
        seen.wait_for("all is well", lambda: len(seen.query("librarian_peer_link_up == 1")) == 2)
        both.source.kill()
        told = seen.wait_for("PeerSilent fires", lambda: seen.webhook.told("PeerSilent", "firing"), 90)
        assert told[0]["labels"]["peer"] == "summit"
        assert told[0]["annotations"]["runbook_url"].endswith("docs/runbooks/PeerSilent.md")
        seen.wait_for("DaemonAbsent fires", lambda: seen.webhook.told("DaemonAbsent", "firing"))
        both.source.start()
        seen.wait_for("both are over", lambda: seen.webhook.told("PeerSilent", "resolved"), 90)
        seen.wait_for("both are over", lambda: seen.webhook.told("DaemonAbsent", "resolved"))


def test_a_flipped_byte_in_a_store_is_told_of(tmp_path: Path) -> None:
    with pair(tmp_path, subscribe=False) as both, observed(tmp_path / "observed", both.sites) as seen:
        both.source.drop_file("night.dat", some_bytes(70_000))
        both.at_both("the file is known", lambda site: site.client.status().counts.files == 1)
        stored = both.source.store / "night.dat"
        spoilt = bytearray(stored.read_bytes())
        spoilt[30_000] ^= 1
        stored.chmod(0o644)
        stored.write_bytes(spoilt)
        stored.chmod(0o444)
        assert not seen.webhook.told("ChecksumMismatch", "firing")
        both.destination.lbctl("subscription", "add", "--from", "summit")
        (told, *_) = seen.wait_for("ChecksumMismatch fires", lambda: seen.webhook.told("ChecksumMismatch", "firing"))
        assert told["labels"]["severity"] == "critical"


def test_a_store_that_is_full_is_told_of_and_so_is_that_there_is_space_again(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "small", "size=32m"):
        site = Site(tmp_path / "small" / "summit", "summit", bus=f"embedded:{free_port()}")
        with sites(site):
            site.start()
            wait_for("the bus is up", lambda: site.client.status().bus.connected, site)
            with observed(tmp_path / "observed", [site]) as seen:
                ballast = site.root / "ballast"
                free = seen.wait_for("it is scraped", lambda: seen.query("librarian_store_free_bytes"))
                ballast.write_bytes(b"\0" * (int(free[0]["value"][1]) - 300_000))
                (told, *_) = seen.wait_for("StoreFull fires", lambda: seen.webhook.told("StoreFull", "firing"))
                assert told["labels"]["store"] == "main"
                ballast.unlink()
                seen.wait_for("it is over", lambda: seen.webhook.told("StoreFull", "resolved"))
