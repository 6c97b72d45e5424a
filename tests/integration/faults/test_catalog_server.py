"""A PostgreSQL that is restarted below a working daemon, in the middle of its commits (row 50)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.oracle import digest_of, some_bytes, standing
from tests.support.postgres import Postgres, postgres_server
from tests.support.sites import Site, free_port, sites, wait_for


@pytest.fixture
def server() -> Iterator[Postgres]:
    with postgres_server() as made:
        yield made


@pytest.mark.fault(50)
def test_row_50_a_database_server_that_crashes_costs_time_only(tmp_path: Path, server: Postgres) -> None:
    changed = {"# walk_every_s = 60.0": "walk_every_s = 1.0"}
    site = Site(
        tmp_path / "summit",
        "summit",
        bus=f"embedded:{free_port()}",
        catalog=server.new_database(),
        changed=changed,
    )
    wanted: dict[str, str] = {}

    def drop(number: int) -> None:
        for _ in range(number):
            name, data = f"f{len(wanted):04}.dat", some_bytes(1000, len(wanted))
            site.drop_file(name, data)
            wanted[name] = digest_of(data)

    with sites(site):
        site.start()
        drop(50)
        wait_for("it works", lambda: site.client.status().counts.files > 0, site)
        for _ in range(5):
            drop(60)
            server.crash_backends()
        drop(100)
        server.crash()
        drop(100)
        wait_for("it says what is wrong", lambda: says_so(site), site)
        server.start_again()
        wait_for("all is accepted", lambda: site.client.status().counts.files == len(wanted), site, deadline_s=90)
        wait_for("nothing complains", lambda: site.client.status().healthy, site)
        assert standing(site.store) == wanted
        assert site.told("file.ingested") == Counter(list(wanted))
        assert site.left_in_staging() == []
        site.lbctl("events", "audit")


def says_so(site: Site) -> bool:
    """The log names the database; the control API cannot: it asks the database itself."""
    return any("catalog" in str(line.get("error", "")) + str(line.get("detail", "")) for line in log_lines(site))


def log_lines(site: Site) -> list[dict[str, object]]:
    return [*site.logged("intake_paused"), *site.logged("commit_failed"), *site.logged("service_failed")]
