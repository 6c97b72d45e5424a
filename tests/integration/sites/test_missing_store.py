"""A site whose store or marker is away, or whose catalog is held: it says so, does what it can, and goes on."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Generator
from contextlib import closing

import pytest
from tests.integration.sites.test_endpoints import get
from tests.support.processes import daemon_of
from tests.support.sites import Site, free_port, sites, wait_for


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Generator[Site]:
    """One site for all tests here; each leaves it running and well."""
    site = Site(tmp_path_factory.mktemp("site") / "archive", "archive", bus=f"embedded:{free_port()}")
    with sites(site):
        site.start()
        take(site, "first.dat")
        yield site


def take(site: Site, name: str) -> None:
    """Drop a file, and wait until it is in the store."""
    site.drop_file(name, name.encode())
    wait_for(f"{name} is taken", lambda: (site.store / name).exists() and site.told("file.ingested")[name], site)


def well(site: Site) -> None:
    """Wait until nothing is wrong."""
    wait_for("all is well", site.is_healthy, site)


def waiting(site: Site) -> dict[str, str]:
    """What waits in the drop directories, and why."""
    return {item.name: item.reason for drop in site.client.status().intake for item in drop.waiting_items}


def test_it_starts_without_its_store_and_takes_it_up_when_it_is_back(site: Site) -> None:
    site.stop()
    away = site.root / "away"
    site.store.rename(away)
    site.store.mkdir()  # a mount point without its mount
    site.start()
    wait_for("it is told", lambda: site.problems().get("store-not-mounted") == ["main"], site)
    assert get(site, "/readyz")[0] == 503
    assert "ERROR    store main" in site.lbctl("doctor", exit_code=1)
    assert "not looked at" in site.lbctl("file", "verify", "first.dat", exit_code=1)
    site.drop_file("meanwhile.dat", b"2")
    wait_for("it waits", lambda: site.client.status().intake[0].state == "paused", site)
    assert list(site.store.iterdir()) == []
    site.store.rmdir()
    away.rename(site.store)
    wait_for("it is taken", (site.store / "meanwhile.dat").exists, site)
    well(site)
    assert site.logged("store_taken_up")
    assert "no longer" not in site.lbctl("file", "show", "first.dat")


def test_a_marker_that_was_deleted_is_put_back_where_it_belongs_and_nowhere_else(site: Site) -> None:
    marker = site.store / ".librarian" / "store"
    text = marker.read_bytes()
    store = site.client.stores()[0].id
    marker.unlink()
    wait_for("it is told", lambda: site.problems().get("store-not-mounted") == ["main"], site)
    other = site.root / "other"
    other.mkdir()
    assert "is configured at" in site.lbctl("store", "mark", str(other), "--store", store, exit_code=2)
    assert "there are: main" in site.lbctl("store", "mark", str(site.store), "--store", "none", exit_code=4)
    # An empty mount point under the right path.
    away = site.root / "away"
    site.store.rename(away)
    site.store.mkdir()
    said = site.lbctl("store", "mark", str(site.store), "--store", store, exit_code=11)
    assert "does not look like store 'main'" in said
    assert list(site.store.iterdir()) == []
    site.store.rmdir()
    away.rename(site.store)
    # Stopped and started meanwhile: it is as with any store that is not there.
    site.stop()
    site.start()
    said = site.lbctl("store", "mark", str(site.store), "--store", store)
    assert "marked; the daemon takes it up by itself" in said
    assert marker.read_bytes() == text
    assert "it had its marker already" in site.lbctl("store", "mark", str(site.store), "--store", "main")
    well(site)
    take(site, "after-the-marker.dat")


def test_a_catalog_that_another_process_holds_is_told_of_at_once(site: Site) -> None:
    well(site)
    with closing(sqlite3.connect(site.root / "catalog.sqlite", timeout=60, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        site.drop_file("held-up.dat", b"3")
        wait_for("it is told", lambda: site.problems().get("catalog-fault") == ["catalog"], site, deadline_s=20)
        assert waiting(site) == {"held-up.dat": "catalog-fault"}
        code, text = get(site, "/readyz")
        assert (code, text) == (503, "not ready: catalog\n")  # why is for `lbctl doctor`, not for strangers
        (told,) = [problem for problem in site.client.status().problems if problem.code == "catalog-fault"]
        assert "a commit has not ended" in told.message
        assert site.logged("commit_slow")
        other.execute("ROLLBACK")
    wait_for("it is taken", (site.store / "held-up.dat").exists, site)
    well(site)
    assert waiting(site) == {}


def test_a_hangup_reads_the_configuration_again_and_says_what_needs_a_restart(site: Site) -> None:
    before = site.config.read_text()
    more = site.root / "drop-more"
    more.mkdir()
    site.config.write_text(before + f'\n[[intake]]\npath = "{more}"\nstore = "main"\ncomplete = "rename"\n')
    hang_up(site, "reloaded", 1)
    assert len(site.client.status().intake) == 3
    (site.making / "file").write_bytes(b"5")
    (site.making / "file").rename(more / "by-the-new-directory.dat")
    wait_for("it is taken", (site.store / "by-the-new-directory.dat").exists, site)
    site.config.write_text("site = ")
    hang_up(site, "reload_failed", 1)
    wait_for("it says so", lambda: site.problems().get("reload-failed") == ["archive"], site)
    site.config.write_text(before.replace("\n[data]\n", '\n[data]\ntls = "on"\n'))
    hang_up(site, "reloaded", 2)
    wait_for("it says so", lambda: site.problems() == {"restart-needed": ["archive"]}, site)
    assert "data.tls" in site.client.status().problems[0].message
    assert len(site.client.status().intake) == 2
    site.config.write_text(before)
    hang_up(site, "reloaded", 3)
    well(site)
    take(site, "after-all.dat")


def hang_up(site: Site, event: str, times: int) -> None:
    """Send SIGHUP to the daemon, and wait until it has logged this so often."""
    os.kill(daemon_of(site), signal.SIGHUP)
    wait_for(event, lambda: len(site.logged(event)) == times, site)
