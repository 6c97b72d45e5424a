"""A bus server that may lose what it acknowledged is an incident and makes the doctor red, until it is put right."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.nats import nats_server
from tests.support.sites import Site, free_port, sites, wait_for


def bus_incidents(site: Site) -> list[str]:
    """What is open of it."""
    return [problem.message for problem in site.client.status().problems if problem.code == "bus-unsafe"]


def red(site: Site) -> str:
    """What the doctor says, which must be red."""
    return site.lbctl("doctor", exit_code=1)


@pytest.mark.fault(18)
def test_an_external_server_that_does_not_write_through_is_an_incident_until_it_does(tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats", free_port()) as server:
        server.kill()
        server.configure(sync='"2m"')  # its default
        server.start()
        site = Site(tmp_path / "summit", "summit", bus=server.url)
        with sites(site):
            site.start()
            wait_for("nobody knows", lambda: bus_incidents(site), site)
            assert "cannot be verified" in bus_incidents(site)[0]
            assert "cannot be verified" in red(site)
            site.stop()

            site.overlay["LIBRARIAN_BUS__MONITOR_URL"] = server.monitor_url
            site.start()
            wait_for("it is known", lambda: "every 120 s" in "".join(bus_incidents(site)), site)
            assert "every 120 s" in red(site)
            wait_for("it is an incident", lambda: "every 120 s" in site.lbctl("incident", "list"), site)
            site.stop()

            server.kill()
            server.configure(sync="always")
            server.start()
            site.start()
            wait_for("it is over", lambda: not bus_incidents(site), site)
            wait_for("no incident is open", lambda: "bus-unsafe" not in site.lbctl("incident", "list"), site)
            assert "sync_interval" not in site.lbctl("doctor")


def test_the_monitoring_of_another_server_says_nothing(tmp_path: Path) -> None:
    with (
        nats_server(tmp_path / "nats", free_port()) as server,
        nats_server(tmp_path / "other", free_port()) as other,
    ):
        site = Site(tmp_path / "summit", "summit", bus=server.url)
        site.overlay["LIBRARIAN_BUS__MONITOR_URL"] = other.monitor_url
        with sites(site):
            site.start()
            wait_for("it is found out", lambda: "another server" in "".join(bus_incidents(site)), site)
            assert "another server" in red(site)
