"""An incident's life, as an operator sees it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.sites import Site, free_port, sites, wait_for


def test_an_operator_sees_it_acknowledges_it_and_it_ends_with_its_cause(tmp_path: Path) -> None:
    looking_often = {"# walk_every_s = 60.0": "walk_every_s = 1.0"}
    site = Site(tmp_path / "summit", "summit", bus=f"embedded:{free_port()}", changed=looking_often)
    with sites(site):
        site.start()
        wait_for("all is well", lambda: site.client.status().healthy, site)
        assert site.lbctl("incident", "list", "-o", "jsonl") == ""

        site.drop_file("bad\nname", b"refused")
        wait_for("the refusal is an incident", lambda: site.client.incidents().incidents, site)
        (found,) = site.client.incidents().incidents
        assert (found.code, found.state) == ("intake-refused", "open")
        assert not site.client.status().healthy
        shown = site.lbctl("incident", "show", str(found.id))
        assert "REASON.txt" in shown
        assert found.title in shown

        site.lbctl("incident", "ack", str(found.id), "--note", "told the observer")
        assert site.client.status().healthy, "somebody has seen it"
        (seen,) = json.loads(site.lbctl("incident", "list", "--state", "acknowledged", "-o", "json"))
        assert seen["note"] == "told the observer"

        for place in (site.drop / ".rejected").iterdir():
            for path in sorted(place.rglob("*"), reverse=True):
                path.unlink() if path.is_file() else path.rmdir()
            place.rmdir()
        wait_for(
            "its cause is gone, and so is it",
            lambda: site.client.incident(found.id).state == "resolved",
            site,
            deadline_s=90,
        )
        assert site.lbctl("incident", "list", "-o", "jsonl") == ""
        assert str(found.id) in site.lbctl("incident", "list", "--all")
        assert "there is no incident 999" in site.lbctl("incident", "show", "999", exit_code=4)
