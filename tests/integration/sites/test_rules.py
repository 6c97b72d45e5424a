"""Rules, by the people of two sites: rules of the mesh, which one may declare and both know, kinds of later versions,
and the limits of a subscription.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from datetime import datetime
from functools import partial
from pathlib import Path

from tests.support.nats import nats_server
from tests.support.sites import Site, free_port, pair


def _listed(site: Site, noun: str) -> list[str]:
    """The ids of rules that count there."""
    rules = site.client.keeps() if noun == "keep" else site.client.holds()
    return [rule.id for rule in rules]


def _lists(site: Site, noun: str, ids: list[str]) -> bool:
    return _listed(site, noun) == ids


def test_rules_are_declared_by_who_may_admit_known_everywhere_and_withdrawn(tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats", free_port()) as server, pair(tmp_path, bus=server.url) as both:
        source, destination = both.sites
        source.drop_file("raw.dat", b"unique")
        for noun in ("keep", "hold"):
            refused = destination.lbctl(noun, "add", "--match", "raw*", "--reason", "unique", exit_code=11)
            assert "may not declare or withdraw rules" in refused
            assert "raw*" in source.lbctl(noun, "add", "--match", "raw*", "--reason", "unique")
            assert "says the same already" in source.lbctl(
                noun, "add", "--match", "raw*", "--reason", "again", exit_code=11
            )
            (declared,) = _listed(source, noun)
            both.at_both(f"it knows the {noun} rule", partial(_lists, noun=noun, ids=[declared]))
        both.wait_for("it arrives", (destination.store / "raw.dat").exists)
        for site in both.sites:
            said = site.lbctl("explain", "raw.dat")
            assert "keep rule of summit for raw*: an eviction must leave 2 good instances in 2 failure domains" in said
            assert "hold rule of summit for raw*: nobody may evict it" in said
        (kept,), (held,) = _listed(source, "keep"), _listed(source, "hold")
        assert "may not declare" in destination.lbctl("keep", "rm", kept, "--reason", "x", exit_code=11)
        assert "not the id of a keep rule" in source.lbctl("keep", "rm", held, "--reason", "x", exit_code=4)
        assert "has passed" in source.lbctl(
            "hold", "add", "--match", "a", "--until", "2020-01-01", "--reason", "x", exit_code=2
        )
        source.lbctl("keep", "rm", kept, "--reason", "complete")
        both.at_both("it is withdrawn", partial(_lists, noun="keep", ids=[]))
        source.kill()
        source.start()
        both.at_both("the other one stays", partial(_lists, noun="hold", ids=[held]))
        both.at_both("and what was withdrawn does not come back", partial(_lists, noun="keep", ids=[]))
        assert destination.lbctl("events", "audit")
        both.assert_whole()

        destination.stop()
        _of_a_later_version(destination, "hold.declared")
        destination.start()
        assert destination.problems()["unknown-rules"] == ["summit"]
        assert "unknown-rules: 1 entry of summit, kind 'route.declared'" in destination.lbctl("doctor", exit_code=1)


def test_a_subscription_takes_what_is_within_its_limit_and_all_sites_know_the_limit(tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats", free_port()) as server, pair(tmp_path, bus=server.url, subscribe=False) as both:
        source, destination = both.sites
        destination.lbctl("subscription", "add", "--from", "summit", "--max-bytes", "10B", "--priority", "9")
        source.drop_file("large.dat", b"eleven bytes")
        source.drop_file("small.dat", b"ten bytes!")
        both.wait_for("what is small arrives", (destination.store / "small.dat").exists)
        both.wait_for("the other is known", lambda: "large.dat" in destination.told("file.ingested"))
        assert "it is larger than the subscription takes" in destination.lbctl("explain", "large.dat")
        assert {transfer.name: transfer.priority for transfer in destination.transfers()} == {"small.dat": 4}
        both.at_both("the rule is known", _limited)


def test_a_subscription_to_new_files_leaves_those_that_were_ingested_long_ago(tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats", free_port()) as server, pair(tmp_path, bus=server.url, subscribe=False) as both:
        source, destination = both.sites
        source.drop_file("old/file.dat", b"old")
        source.drop_file("new/file.dat", b"new")
        both.wait_for("both are known", lambda: len(destination.told("file.ingested")) == 2)
        both.wait_for("they are older than a second", partial(_older_than, destination, 2.0))
        destination.lbctl("subscription", "add", "--from", "summit", "--match", "old/**", "--newest", "1s")
        shown = destination.lbctl("subscription", "add", "--from", "summit", "--match", "new/**", "--newest", "90d")
        assert "90d" in shown
        both.wait_for("what is new enough arrives", (destination.store / "new/file.dat").exists)
        assert "it was ingested longer ago than the subscription takes" in destination.lbctl("explain", "old/file.dat")
        assert [transfer.name for transfer in destination.transfers()] == ["new/file.dat"]
        both.at_both("the limits are known", _aged)


def _older_than(site: Site, seconds: float) -> bool:
    entries = site.entries("file.ingested")
    ages = [time.time() - datetime.fromisoformat(entry["at"]).timestamp() for entry in entries]
    return min(ages) > seconds


def _aged(site: Site) -> bool:
    return [found.newest_s for found in site.client.subscriptions()] == [1, 90 * 86400]


def _limited(site: Site) -> bool:
    return [(found.max_bytes, found.priority) for found in site.client.subscriptions()] == [(10, 9)]


def _of_a_later_version(site: Site, kind: str) -> None:
    """As if entries had come in a kind that is not known."""
    with closing(sqlite3.connect(site.root / "catalog.sqlite", isolation_level=None)) as connection:
        changed = connection.execute(
            "UPDATE journal SET kind = 'route.declared', state = 'unknown' WHERE kind = ?", (kind,)
        )
        assert changed.rowcount == 1
