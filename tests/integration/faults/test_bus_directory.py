"""The directory of the site's own bus server is removed while it runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.support.sites import Site, free_port, sites, wait_for


@pytest.mark.fault(19)
def test_a_bus_whose_directory_was_removed_is_a_problem_at_once_and_none_after_a_restart(tmp_path: Path) -> None:
    """The server itself goes on and acknowledges; it has files open that nobody will find again."""
    site = Site(tmp_path / "summit", "summit", bus=f"embedded:{free_port()}")
    with sites(site):
        site.start()
        wait_for("the bus is up", lambda: site.client.status().bus.connected, site)
        assert "bus-unsafe" not in site.problems()
        shutil.rmtree(site.root / "nats" / "jetstream")
        wait_for("it is told", lambda: "bus-unsafe" in site.problems(), site)
        assert "restart lbd" in site.lbctl("status", exit_code=1)
        site.stop()
        site.start()
        wait_for("it is over", lambda: "bus-unsafe" not in site.problems(), site)
