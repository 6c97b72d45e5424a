"""Every holder says how its instances stand; one that is away is named, and answers when it is back."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tests.integration.sites.test_scrubbing import flip, stored_at_both
from tests.support.sites import pair


def rows(text: str) -> dict[tuple[str, str], dict[str, Any]]:
    """By site and name."""
    return {(row["site"], row["name"]): row for row in json.loads(text)}


def test_each_holder_is_asked_and_says_what_it_holds_now(tmp_path: Path) -> None:
    with pair(tmp_path) as both:
        summit, archive = both.sites
        summit.drop_file("a.dat", os.urandom(100_000))
        summit.drop_book("book", {"one": b"1", "two": b"22"})
        stored_at_both(both, "a.dat", "book")

        found = rows(summit.lbctl("file", "verify", "--match", "**", "--everywhere", "-o", "json"))
        assert set(found) == {(site, name) for site in ("archive", "summit") for name in ("a.dat", "book")}
        assert {row["outcome"] for row in found.values()} == {"right"}
        assert not any(row["fresh"] for row in found.values())
        assert all(row["read_at"] for row in found.values())

        # The bytes have changed and nobody has read them since: only reading finds that.
        archive.lbctl("pause", "transfers", "--for", "1h", "--reason", "a test")
        flip(archive.store / "a.dat", 99)
        summit.lbctl("file", "verify", "a.dat", "--everywhere")
        asked = ("file", "verify", "a.dat", "--everywhere", "--fresh")
        text = summit.lbctl(*asked, "-o", "json", exit_code=6)
        found = rows(text[: text.rindex("]") + 1])
        good, bad = found["summit", "a.dat"], found["archive", "a.dat"]
        assert (good["outcome"], good["found_digest"], good["fresh"]) == ("right", good["digest"], True)
        assert bad["outcome"] == "bad"
        assert bad["found_digest"] not in {None, bad["digest"]}
        assert bad["found_size_bytes"] == bad["size_bytes"] == 100_000
        # Its owner knows, and everybody hears of it.
        both.at_both(
            "is listed as bad", lambda site: [file.name for file in site.client.files(bad=True).files] == ["a.dat"]
        )
        archive.lbctl("resume", "transfers")
        stored_at_both(both, "a.dat")

        # One that is away is named; it answers when it is back.
        archive.stop()
        begun = summit.client.verify_everywhere("a.dat", fresh=True)
        both.wait_for("the other has answered", lambda: summit.client.verified_everywhere(begun.inquiry).answered == 1)
        waiting = summit.client.verified_everywhere(begun.inquiry)
        assert waiting.waiting == ["archive"]
        assert {row.site: row.outcome for row in waiting.instances} == {"summit": "right", "archive": "waiting"}
        said = summit.lbctl("file", "verify", "a.dat", "--everywhere", "--wait", "1s", exit_code=1)
        assert "archive" in said.splitlines()[-1]
        archive.start()
        both.wait_for("it has answered", lambda: not summit.client.verified_everywhere(begun.inquiry).waiting)
        assert {row.outcome for row in summit.client.verified_everywhere(begun.inquiry).instances} == {"right"}

        summit.lbctl("file", "verify", "nothing", "--everywhere", exit_code=4)
        summit.lbctl("file", "verify", "a.dat", "--fresh", exit_code=2)
