"""A daemon that is started with a wrong site key, and what others say of a site that ran with one."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from tests.support.sites import Pair, Site, pair

from librarian_protocol.keys import SiteKey, fingerprint

SOON = {"# heads_every_s = 30.0": "heads_every_s = 1.0"}
WRONG = SiteKey(b"\x07" * 32)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Generator[Pair]:
    """One pair for all tests here; each leaves it running and whole."""
    with pair(tmp_path_factory.mktemp("pair"), changed=SOON) as made:
        made.source.drop_file("before.dat", b"1")
        made.acknowledged(1)
        yield made


def put_key(site: Site, text: str) -> str:
    """Put another key into the key's file; what stood there."""
    path = site.root / "keys" / "site.key"
    before = path.read_text()
    path.write_text(text)
    return before


def names(site: Site) -> set[str]:
    """Of all files that it knows."""
    return {file.name for file in site.client.files().files}


def refused(site: Site) -> str:
    """Start the daemon, which ends; what it says."""
    before = site.log.stat().st_size
    site.spawn()
    assert site.process is not None
    assert site.process.wait(60) == 2
    site.process = None
    return site.log.read_bytes()[before:].decode()


def test_it_does_not_start_and_nothing_is_lost(both: Pair) -> None:
    site = both.destination
    site.stop()
    right = put_key(site, "07" * 32)
    said = refused(site)
    assert f"is the key {fingerprint(WRONG.public)}" in said
    assert "docs/keys.md" in said
    put_key(site, right)
    site.start()
    both.source.drop_file("after.dat", b"2")
    both.acknowledged(2)
    both.assert_whole()


def test_a_missing_key_is_not_made_anew(both: Pair) -> None:
    site = both.destination
    site.stop()
    path = site.root / "keys" / "site.key"
    os.rename(path, site.root / "away")
    assert "put it back from a backup" in refused(site)
    assert not path.exists()
    os.rename(site.root / "away", path)
    site.start()


def test_a_key_that_was_replaced_is_not_taken_again(both: Pair) -> None:
    site = both.destination
    former = (site.root / "keys" / "site.key").read_text()
    site.lbctl("site", "rekey")
    site.stop()
    site.start()
    present = put_key(site, former)
    site.stop()
    assert "which this site had before" in refused(site)
    put_key(site, present)
    site.start()
    both.assert_whole()


def test_a_site_that_ran_with_a_wrong_key_learns_that_it_is_held_back_and_mends_it(both: Pair) -> None:
    """As daemons did that did not look at their key: what it said with the wrong one was believed by nobody, ever."""
    site, other = both.destination, both.source
    site.stop()
    right = put_key(site, "07" * 32)
    site.start(["--accept-key", fingerprint(WRONG.public)])
    site.drop_file("with-the-wrong-key.dat", b"3")
    both.wait_for("it learns that it is not believed", lambda: site.problems().get("held-back") == [other.name])
    assert "ERROR    own journal at summit" in site.lbctl("doctor", exit_code=1)
    assert "with-the-wrong-key.dat" not in names(other)
    site.stop()

    put_key(site, right)
    site.start()
    site.drop_file("with-the-right-key.dat", b"4")
    both.wait_for(
        "all of it is known",
        lambda: {"with-the-wrong-key.dat", "with-the-right-key.dat"} <= names(other),
    )
    assert site.logged("signed_again")
    both.wait_for("nothing is held back", lambda: "held-back" not in site.problems())
    both.wait_for("nothing is stalled", lambda: "journal-stalled" not in other.problems())
    both.assert_whole()
