"""A daemon that is asked to stop does so soon and quietly; there is one on a directory; its log is for machines."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from tests.support.flipping_proxy import FlippingProxy
from tests.support.oracle import digest_of, some_bytes, standing
from tests.support.sites import Pair, Site, free_port, pair, sites, wait_for

from librarian_protocol import tokens

DATA = some_bytes(16 << 20)
#: From the signal to the end, a transfer being under way: a second on an idle machine; systemd waits two minutes.
SOON_S = 30.0


@pytest.mark.parametrize("stopped", ["source", "destination"])
def test_a_stop_in_the_middle_of_a_transfer_is_soon_and_quiet_and_the_next_start_goes_on(
    tmp_path: Path, stopped: str
) -> None:
    with FlippingProxy() as proxy, pair(tmp_path, advertise=proxy.address) as both:
        proxy.target = both.source.data_port
        proxy.stall(4 << 20)
        both.source.drop_file("large.dat", DATA)
        both.wait_for("it is under way", lambda: [path.stat().st_size for path in both.destination.left_in_staging()])
        site = both.source if stopped == "source" else both.destination
        before = len(site.log.read_bytes())
        assert site.stop(SOON_S) == 0
        said = site.log.read_bytes()[before:].decode()
        assert "Traceback" not in said
        lines = [json.loads(line) for line in said.splitlines()]
        assert {line["level"] for line in lines} == {"info"}
        assert [line["event"] for line in lines][-1] == "stopped"
        assert not (site.root / "lbd.sock").exists()

        proxy.flowing.set()
        site.start()
        both.acknowledged(1)
        assert standing(both.destination.store) == {"large.dat": digest_of(DATA)}
        assert both.destination.left_in_staging() == []
        both.assert_whole()


@pytest.mark.fault(25)
def test_a_second_daemon_on_the_same_directory_refuses_to_run(tmp_path: Path) -> None:
    site = Site(tmp_path / "summit", "summit", bus=f"embedded:{free_port()}")
    with sites(site):
        site.start()
        second = subprocess.run(
            [sys.executable, "-m", "librarian_daemon", "--config", str(site.config)],
            env=site.environ(),
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert second.returncode == 11
        assert "error[E505]: another lbd runs on" in second.stderr
        assert "Traceback" not in second.stderr
        site.drop_file("a.dat", b"the first one is not disturbed")
        wait_for("it is ingested", lambda: site.told("file.ingested")["a.dat"], site)


def secrets_of(both: Pair) -> list[str]:
    """Every secret of both sites, as it stands in their files."""
    found: list[str] = []
    for site in both.sites:
        keys = [path for path in (site.root / "keys").iterdir() if path.is_file()]
        assert len(keys) >= 2  # the site's own, and those for the bus
        for path in keys:
            found += [word.strip('",:{}[]') for word in path.read_text().split() if len(word) > 40]
    assert len(found) >= 6
    return found


def test_every_line_of_the_log_is_json_and_tells_no_secret(tmp_path: Path) -> None:
    """Joining, refusing, moving, failing, stopping: the log of all of it can be given to anybody."""
    with pair(tmp_path, changed={'# level = "info"': 'level = "debug"'}) as both:
        invited = both.source.lbctl("site", "invite").strip()
        token = tokens.decode(invited)
        both.source.drop_file("a.dat", b"a")
        both.source.drop_file('bad\n{"event": "forged"}.dat', b"b")
        both.source.drop_book("book", {"a": b"1"})
        both.acknowledged(2)
        both.wait_for("one is refused", both.source.rejected)
        both.source.kill_bus()
        both.wait_for("both notice", lambda: both.destination.logged("bus_reading_again"))
        for site in both.sites:
            assert site.stop() == 0
        assert token.bus_seed is not None
        secrets = [*secrets_of(both), invited, token.secret, token.bus_seed]
        for site in both.sites:
            text = site.log.read_text()
            for line in text.splitlines():
                told = msgspec.json.decode(line, type=dict[str, object])
                assert told.keys() >= {"event", "level", "timestamp", "site"}
                assert told["site"] == site.name
            assert site.logged("forged") == []
            assert [secret for secret in secrets if secret in text] == []
