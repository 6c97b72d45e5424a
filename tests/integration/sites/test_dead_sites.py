"""A site that died, and one that was revoked: no view shows them as fine, whatever the bus server says."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path

import pytest
from tests.integration.sites.test_rewinding import back_up, restore
from tests.support.sites import Site, join, pair, sites

from librarian_protocol import api

SOON = {"# heads_every_s = 30.0": "heads_every_s = 1.0"}


def peer(site: Site, name: str) -> api.PeerStatus:
    return next(known for known in site.client.status().peers if known.site == name)


def holders(site: Site, name: str) -> list[str]:
    """Sites with a good instance, as a site lists them."""
    return [holder for file in site.client.files().files if file.name == name for holder in file.sites]


def link_metric(site: Site, name: str) -> float | None:
    with urllib.request.urlopen(f"http://127.0.0.1:{site.metrics_port}/metrics") as answer:
        text = answer.read().decode()
    found = re.search(rf'librarian_peer_link_up{{[^}}]*peer="{name}"[^}}]*}} (\S+)', text)
    return float(found[1]) if found else None


@pytest.mark.fault(23)
def test_a_dead_site_is_silent_and_a_revoked_one_counts_nowhere(tmp_path: Path) -> None:
    with pair(tmp_path, changed=SOON) as both:
        summit, archive = both.sites
        campus = Site(tmp_path / "campus", "campus", changed=SOON)
        with sites(campus):
            join(summit, campus)
            summit.drop_file("a.dat", b"a")
            both.wait_for("both hold it", lambda: holders(summit, "a.dat") == ["archive", "summit"])
            both.wait_for("its link is up", lambda: peer(summit, "archive").link == "up")
            assert link_metric(summit, "archive") == 1
            campus.stop()
            back_up(campus, tmp_path / "backup")
            campus.start()
            campus.drop_file("c.dat", b"c")
            both.wait_for("it is told of", lambda: holders(summit, "c.dat") == ["campus"])
            campus.stop()
            restore(campus, tmp_path / "backup")

            archive.kill()
            both.wait_for("it is silent", lambda: peer(summit, "archive").link == "down")
            assert "silent" in peer(summit, "archive").link_detail
            assert link_metric(summit, "archive") == 0
            assert "archive is not heard" in summit.lbctl("file", "show", "a.dat")
            assert "archive is not heard" in summit.lbctl("explain", "a.dat")
            assert any(check.check == "link to archive" for check in summit.client.doctor())
            assert summit.client.status().counts.instances_elsewhere == 2, "a silent site's instances count on"

            campus.spawn()
            both.wait_for("it answers", campus.answers)
            revoke = "`lbctl site revoke archive --reason WHY`"
            both.wait_for(
                "its recovery waits for the dead one, and says what to do",
                lambda: any(revoke in reason for reason in campus.client.recovery().waits_for),
            )
            both.wait_for(
                "the others see what it waits for",
                lambda: any("archive has not told" in reason for reason in peer(summit, "campus").recovering),
            )
            assert "campus recovers its catalog" in summit.status()

            summit.lbctl("site", "revoke", "archive", "--reason", "it burnt down")
            both.wait_for("that ends the recovery", lambda: campus.client.recovery().since is None)
            both.wait_for("the others see it", lambda: not peer(summit, "campus").recovering)
            shown = {instance.site: instance.state for instance in summit.client.file("a.dat").files[0].instances}
            assert shown == {"archive": "revoked", "summit": "verified"}
            assert holders(summit, "a.dat") == ["summit"]
            assert summit.client.subscriptions() == []
            assert "revoked: it counts nowhere" in summit.lbctl("explain", "a.dat")
            # campus holds its own file again, and nobody else holds anything.
            both.wait_for("nothing is elsewhere", lambda: summit.client.status().counts.instances_elsewhere == 1)
