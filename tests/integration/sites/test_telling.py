"""What is wrong is said: a lost catalog, a drop directory that stands still, a token that is not what it was."""

from __future__ import annotations

from pathlib import Path

import msgspec
from tests.support.sites import Site, free_port, sites, wait_for

from librarian_protocol import tokens


def summit_and_archive(root: Path) -> tuple[Site, Site]:
    """Two sites, neither running, the second without a bus."""
    return Site(root / "summit", "summit", bus=f"embedded:{free_port()}"), Site(root / "archive", "archive")


def test_a_lost_catalog_is_told_by_what_the_stores_remember(tmp_path: Path) -> None:
    """The files still stand in the store; the site does not pretend that all is well."""
    site = Site(tmp_path / "summit", "summit", bus=f"embedded:{free_port()}")
    with sites(site):
        site.start()
        site.drop_file("a.dat", b"kept")
        wait_for("ingested", lambda: site.client.status().counts.files == 1, site)
        assert site.stop() == 0
        site.start()
        assert "catalog-behind" not in site.problems()
        assert site.stop() == 0
        for path in site.root.glob("catalog.sqlite*"):
            path.unlink()
        site.start()
        assert "catalog-behind" in site.problems()
        assert not site.client.status().healthy
        assert (site.store / "a.dat").read_bytes() == b"kept"


def test_an_intake_that_cannot_go_on_is_a_problem_of_the_site(tmp_path: Path) -> None:
    """Its store is gone for a while: status says so and is not healthy; then it goes on by itself."""
    site = Site(tmp_path / "summit", "summit", bus=f"embedded:{free_port()}")
    with sites(site):
        site.start()
        hidden = site.store.with_name("elsewhere")
        site.store.rename(hidden)
        site.drop_file("a.dat", b"waits")
        wait_for("said", lambda: "intake-paused" in site.problems(), site)
        assert site.status_code() == 1
        hidden.rename(site.store)
        wait_for("over", lambda: site.client.status().counts.files == 1, site, deadline_s=60)
        wait_for("healthy", lambda: "intake-paused" not in site.problems(), site)


def test_a_token_with_another_key_does_not_hold_a_site_back_or_pass_for_the_right_one(tmp_path: Path) -> None:
    """An altered token joins nobody; the right one does afterwards; and after that the altered one is refused."""
    summit, archive = summit_and_archive(tmp_path)
    with sites(summit, archive):
        summit.start()
        archive.start()
        good = summit.lbctl("site", "invite").strip()
        altered = tokens.encode(msgspec.structs.replace(tokens.decode(good), key="ed25519:" + "0" * 64))
        archive.lbctl("site", "join", "--timeout-s", "2", altered, exit_code=5)
        assert "joined" in archive.lbctl("site", "join", summit.lbctl("site", "invite").strip())
        text = archive.lbctl("site", "join", altered, exit_code=11)
        assert "was the token altered?" in text


def test_a_subscription_that_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    """A site that nobody knows, and a rule that stands there already."""
    summit, archive = summit_and_archive(tmp_path)
    with sites(summit, archive):
        summit.start()
        archive.start()
        archive.lbctl("site", "join", summit.lbctl("site", "invite").strip())
        archive.lbctl("subscription", "add", "--from", "summit")
        assert "not in the roster" in archive.lbctl("subscription", "add", "--from", "sumit", exit_code=4)
        assert "says the same already" in archive.lbctl("subscription", "add", "--from", "summit", exit_code=11)
        nosuch = archive.lbctl("subscription", "add", "--from", "summit", "--into", "nosuch", exit_code=2)
        assert "there is no store 'nosuch' at this site" in nosuch
        for command in (
            ["subscription", "add", "--from", "summit", "--match", "obs/"],
            ["offer", "set", "summit", "/abs/*"],
            ["site", "invite", "--grant", "a//b"],
            ["file", "list", "--match", "{a,b}*"],
        ):
            assert "hint: " in archive.lbctl(*command, exit_code=2), command
        assert "hint: " in summit.lbctl("site", "set", "archive", "--grant", "../x", exit_code=2)


def test_a_glob_that_would_be_tried_without_end_freezes_no_daemon_and_no_start(tmp_path: Path) -> None:
    """In a grant, which the journal carries to every site; in an offer; in a subscription; asked for."""
    endless = "**?" * 12 + "b"
    summit, archive = summit_and_archive(tmp_path)
    with sites(summit, archive):
        summit.start()
        archive.start()
        archive.lbctl("site", "join", summit.lbctl("site", "invite").strip())
        archive.lbctl("subscription", "add", "--from", "summit", "--match", endless)
        summit.lbctl("offer", "set", "archive", endless)
        summit.lbctl("site", "set", "archive", "--grant", endless)
        summit.drop_file("a" * 44, b"of the summit")
        wait_for("heard of", lambda: archive.client.files("a" * 44).files, summit, archive)
        wait_for(
            "the grant holds",
            lambda: [site.grants for site in archive.client.sites() if site.site == "archive"] == [[endless]],
            archive,
        )
        archive.drop_file("a" * 43, b"of the archive")
        wait_for("it is outside the grant", archive.rejected, archive)
        assert archive.client.files(endless).files == []
        assert archive.stop() == 0
        assert summit.stop() == 0
        summit.start()
        archive.start()
        assert summit.client.files("a*").files
