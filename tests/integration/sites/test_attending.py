"""What an administrator does with what drop directories refused or pass over, in bulk, and how numbers are told."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.support.sites import Site, free_port, sites, wait_for

from librarian_protocol import api
from librarian_protocol.errors import ArgumentInvalid, NotFound

MANY = 110
CHANGED = {"# walk_every_s = 60.0": "walk_every_s = 1.0"}


@pytest.mark.timeout(300)
def test_refusals_are_listed_acknowledged_dropped_again_and_moved_elsewhere_by_cause(tmp_path: Path) -> None:
    site = Site(tmp_path / "summit", "summit", bus=f"embedded:{free_port()}", changed=CHANGED)
    with sites(site):
        site.start()
        site.drop_tree("night", {f"bad\t{number}": b"%d" % number for number in range(MANY)})
        (site.drop / "link").symlink_to("/etc/passwd")
        (site.drop / ".stylelintrc").write_bytes(b"{}")
        (site.drop / "x.part").write_bytes(b"begin")
        wait_for("all are refused", lambda: site.client.status().intake[0].standing_refused == MANY + 1, site)

        found = wait_for(
            "two causes, two incidents",
            lambda: {incident.subject: incident.count for incident in site.client.incidents(state="open").incidents},
            site,
        )
        assert found == {f"{site.drop}: name-invalid": MANY, f"{site.drop}: not-possible": 1}
        passed_over = {"*.part": 1, ".*": 1}  # a walk counts them
        wait_for("both are counted", lambda: site.client.status().intake[0].ignored == passed_over, site)
        status = site.lbctl("status", exit_code=1)
        assert "2 problems, NOT HEALTHY" in status
        assert f"refused: {MANY + 1} in {site.drop}/.rejected: lbctl rejected list" in status
        assert f"ignored: 1 by *.part, 1 by .* in {site.drop}: lbctl ignored list" in status
        assert "2 open: intake-refused" in [
            check.message for check in site.client.doctor() if check.check == "incidents"
        ]

        assert site.lbctl("incident", "ack", "--code", "intake-refused") == "2 incidents acknowledged\n"
        assert site.client.status().healthy
        assert site.client.acknowledge_many() == 0

        listed = [
            json.loads(line) for line in site.lbctl("rejected", "list", "--limit", "0", "-o", "jsonl").splitlines()
        ]
        assert len(listed) == MANY + 1
        assert [refused["at"][:19] for refused in listed] == sorted(refused["at"][:19] for refused in listed)
        some = site.lbctl("rejected", "list", "--cause", "name-invalid", "--limit", "3")
        assert len(some.splitlines()) == 4
        (link,) = [refused for refused in listed if refused["cause"] == "not-possible"]
        assert link["name"] == "link"

        away = tmp_path / "away"
        away.mkdir()
        (away / "night").mkdir()
        (away / "night" / "bad\t7").write_bytes(b"mine")
        said = site.lbctl("rejected", "return", "--cause", "name-invalid", "--to", str(away), exit_code=3)
        assert f"{MANY - 1} moved, 1 left where they are" in said
        assert re.search(r"left: \S+: night/bad\\t7: its place there is occupied", said)
        kept = {path.name: path.read_bytes() for path in (away / "night").iterdir()}
        assert kept == {f"bad\t{number}": b"%d" % number for number in range(MANY)} | {"bad\t7": b"mine"}
        for closed in (site.store, site.drop_books):
            with pytest.raises(ArgumentInvalid, match="a store or a drop directory"):
                site.client.return_refused(api.RefusedChoice(all=True, to=str(closed)))

        wait_for("they are counted again", lambda: site.client.status().intake[0].standing_refused == 2, site)
        assert site.lbctl("rejected", "retry", link["id"]) == "1 dropped again\n"
        wait_for("it was looked at again", lambda: site.client.status().intake[0].refused == MANY + 2, site)
        with pytest.raises(NotFound, match="nothing refused has the id x"):
            site.client.retry_refused(api.RefusedChoice(ids=["x"]))

        ignored = [json.loads(line) for line in site.lbctl("ignored", "list", "-o", "jsonl").splitlines()]
        assert {(entry["name"], entry["glob"], entry["size_bytes"]) for entry in ignored} == {
            (".stylelintrc", ".*", 2),
            ("x.part", "*.part", 5),
        }
        with pytest.raises(NotFound, match="is no drop directory"):
            list(site.client.ignored("/nowhere"))

        # Taken out of the configuration: what was told of it is over.
        wait_for("it is told again", lambda: "intake-refused" in site.problems(), site)
        site.stop()
        elsewhere = site.root / "drop-elsewhere"
        elsewhere.mkdir()
        site.config.write_text(site.config.read_text().replace('path = "drop"', 'path = "drop-elsewhere"'))
        site.start()
        wait_for("it is over", lambda: "intake-refused" not in site.problems(), site)
