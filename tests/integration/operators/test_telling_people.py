"""Incidents are told by a channel of apprise, to a real webhook: grouped, once, also when over, also after a kill."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.support.observing import Webhook
from tests.support.sites import Site, free_port, sites, wait_for


@pytest.fixture
def webhook() -> Generator[Webhook]:
    hook = Webhook()
    try:
        yield hook
    finally:
        hook.close()


def made(root: Path, url: str, **more: object) -> Site:
    """A site that looks often, with one channel."""
    keys = {"label": "oncall", "url": url, "every_s": 1.0, **more}
    table = ", ".join(f"{key} = {json.dumps(value)}" for key, value in keys.items())
    return Site(
        root / "summit",
        "summit",
        bus=f"embedded:{free_port()}",
        changed={"# walk_every_s = 60.0": "walk_every_s = 1.0"},
        overlay={"LIBRARIAN_NOTIFY": f"[{{{table}}}]"},
    )


def empty_rejected(site: Site) -> None:
    for place in (site.drop / ".rejected").iterdir():
        for path in place.iterdir():
            path.unlink()
        place.rmdir()


def test_people_are_told_of_incidents_once_together_and_of_their_end(tmp_path: Path, webhook: Webhook) -> None:
    site = made(tmp_path, webhook.url.replace("http://", "json://"))
    with sites(site):
        site.start()
        for number in range(5):
            site.drop_file(f"bad{number}\nname", b"refused")
        wait_for("somebody is told", lambda: webhook.posts, site)
        wait_for("of all five", lambda: sum("intake-refused" in post["message"] for post in webhook.posts), site)
        first = webhook.posts[0]
        assert first["title"].startswith("Librarian summit: ")
        assert "what to do" in first["message"]
        assert len(webhook.posts) < 5, "they are told together"

        site.kill()  # as after a power cut: what was told stands in the catalog
        told = len(webhook.posts)
        site.start()
        # Of another cause: what joins the five that were told is no incident of its own, and is not told again.
        site.drop_file("night", b"accepted")
        wait_for("it is taken", lambda: site.told("file.ingested")["night"], site)
        site.drop_file("NIGHT", b"refused")
        wait_for(
            "the new one is told", lambda: any("case-twin" in post["message"] for post in webhook.posts[told:]), site
        )
        every = "\n".join(post["message"] for post in webhook.posts)
        for number in range(1, 6):
            assert every.count(f"[{number}] intake-refused") <= 2, "twice where the kill came before it was noted"

        empty_rejected(site)
        wait_for(
            "they are over, and told so",
            lambda: [post for post in webhook.posts if "over: [" in post["message"]],
            site,
            deadline_s=90,
        )


def test_a_channel_that_does_not_work_is_an_incident_and_shows_no_secret(tmp_path: Path) -> None:
    secret = "S3CRETS3CRETS3CRET"
    site = made(tmp_path, f"json://user:{secret}@127.0.0.1:{free_port()}/{secret}")
    with sites(site):
        site.start()
        site.drop_file("bad\nname", b"refused")
        wait_for("it is an incident", lambda: site.problems().get("notify-failed"), site)
        assert "oncall" in site.lbctl("notify", "list")
        tried = site.lbctl("notify", "test", "oncall", exit_code=1)
        shown = [
            tried,
            site.lbctl("incident", "list"),
            site.lbctl("notify", "list", "-o", "json"),
            site.lbctl("doctor"),
            site.log.read_text(),
        ]
        for text in shown:
            assert secret not in text
        assert "there is no channel 'none'" in site.lbctl("notify", "test", "none", exit_code=4)


def test_a_url_that_nobody_understands_keeps_the_daemon_from_starting(tmp_path: Path) -> None:
    site = made(tmp_path, "carrier-pigeon://loft")
    with sites(site):
        site.spawn()
        assert site.process is not None
        assert site.process.wait(30) == 2
        site.process = None
        assert "notify oncall: this is no URL of one service" in site.log.read_text()


def test_a_message_is_tried_by_hand(tmp_path: Path, webhook: Webhook) -> None:
    site = made(tmp_path, webhook.url.replace("http://", "json://"))
    with sites(site):
        site.start()
        assert "oncall" in site.lbctl("notify", "test")
        wait_for("it arrived", lambda: webhook.posts, site)
        assert webhook.posts[0]["title"] == "Librarian summit: a test"


def test_the_log_level_is_changed_while_the_daemon_runs(tmp_path: Path, webhook: Webhook) -> None:
    site = made(tmp_path, webhook.url.replace("http://", "json://"))
    with sites(site):
        site.start()
        assert site.lbctl("log", "level").strip() == "info"
        assert not site.logged("asked")
        assert site.lbctl("log", "level", "debug").strip() == "debug"
        assert json.loads(site.lbctl("log", "level", "-o", "json")) == {"level": "debug"}
        (changed,) = site.logged("log_level_changed")
        assert (changed["was"], changed["now"]) == ("info", "debug")
        site.lbctl("store", "list")
        assert "/api/v1/stores" in {line["path"] for line in site.logged("asked")}
        site.lbctl("log", "level", "loud", exit_code=2)
