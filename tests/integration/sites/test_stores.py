"""Stores as people run them, with real daemons: set, added and retired live, and kept over restarts."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from pathlib import Path

import pytest
from tests.support.mounts import tmpfs
from tests.support.oracle import digest_of, some_bytes, standing
from tests.support.sites import Site, free_port, pair, sites, wait_for


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Generator[Site]:
    """One site for all tests here; each leaves its only configured store as it was."""
    site = Site(tmp_path_factory.mktemp("site") / "archive", "archive", bus=f"embedded:{free_port()}")
    with sites(site):
        site.start()
        yield site


def values(site: Site, label: str) -> dict[str, tuple[str, str]]:
    """Of a store: each value, and where it comes from."""
    return {setting.key: (setting.value, setting.origin) for setting in site.client.show_store(label).settings}


def said(site: Site, label: str) -> list[tuple[bool, bool]]:
    """What other sites were told of a store, in order: active, ingestable."""
    entries = [entry for entry in site.entries("store.declared") if entry["label"] == label]
    return [(entry["active"], entry["ingestable"]) for entry in entries]


def test_what_a_person_sets_holds_over_restarts_until_it_is_unset(site: Site) -> None:
    assert values(site, "main") == {
        "active": ("true", "default"),
        "ingestable": ("true", "default"),
        "priority": ("100", "default"),
        "reserve": ("2%", "default"),
    }
    before = said(site, "main")
    shown = site.lbctl("store", "set", "main", "--inactive", "--priority", "7", "--reason", "the disk is replaced")
    assert "the disk is replaced" in shown
    site.stop()
    site.start()
    assert values(site, "main")["active"] == ("false", "set")
    assert values(site, "main")["priority"] == ("7", "set")
    assert said(site, "main") == [*before, (False, True)], "a start activates nothing"
    site.lbctl("store", "set", "main", "--reserve", "1GiB", "--reason", "for the night")
    assert values(site, "main")["priority"] == ("7", "set"), "what is not given stays"
    assert "COMES FROM" in site.lbctl("store", "unset", "main")
    assert {origin for _, origin in values(site, "main").values()} == {"default"}
    assert said(site, "main") == [*before, (False, True), (True, True)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["set", "main", "--reason", "why"], "nothing is to be set"),
        (["set", "main", "--reserve", "much", "--reason", "why"], "'much' is no reserve"),
        (["set", "main", "--inactive", "--reason", ""], "reason"),
        (["add", "drop/second", "--label", "second", "--role", "archive"], "lie in one another"),
        (["add", "store/second", "--label", "second", "--role", "archive"], "lie in one another"),
        (["add", "second", "--label", "main", "--role", "archive"], "'main' is the one of the store in"),
        (["add", "second", "--label", "second", "--role", "tape"], "'tape' is no role"),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(site: Site, arguments: list[str], says: str) -> None:
    if arguments[0] == "add":
        place = site.root / arguments[1] if "/" in arguments[1] else site.root.parent / arguments[1]
        arguments = ["add", str(place), *arguments[2:]]
    assert says in site.lbctl("store", *arguments, exit_code=2)
    assert {origin for _, origin in values(site, "main").values()} == {"default"}
    assert [store.label for store in site.client.stores()] == ["main"]


def test_there_is_no_store_of_another_name(site: Site) -> None:
    for arguments in (["show", "none"], ["unset", "none"], ["set", "none", "--active", "--reason", "why"]):
        assert "there are: main" in site.lbctl("store", *arguments, exit_code=4)


def test_a_store_is_added_kept_and_retired_while_the_daemon_runs(site: Site) -> None:
    place = site.root.parent / "second"
    shown = site.lbctl("store", "add", str(place), "--label", "second", "--role", "buffer")
    assert f"second: buffer, {place}, added by `lbctl store add`" in shown
    assert "second: buffer" in site.lbctl("store", "add", str(place), "--label", "second", "--role", "buffer")
    said_again = site.lbctl("store", "add", str(place), "--label", "second", "--role", "archive", exit_code=2)
    assert "never changes its role" in said_again
    assert said(site, "second") == [(True, True)]
    wait_for("it is well", site.is_healthy, site)
    site.stop()
    place.rename(site.root.parent / "away")
    site.start()
    wait_for("its absence is told", lambda: site.problems().get("store-not-mounted") == ["second"], site)
    (site.root.parent / "away").rename(place)
    wait_for("it is taken up", site.is_healthy, site)
    assert [store.label for store in site.client.stores()] == ["main", "second"]
    assert "configured, and it is there" in site.lbctl("store", "retire", "main", exit_code=11)
    site.lbctl("store", "retire", "second")
    assert [store.label for store in site.client.stores()] == ["main"]
    refused = site.lbctl("store", "add", str(place), "--label", "second", "--role", "buffer", exit_code=2)
    assert "was retired, and that is final" in refused
    site.stop()
    site.start()
    assert [store.label for store in site.client.stores()] == ["main"]
    wait_for("all is well", site.is_healthy, site)


def test_a_configured_store_keeps_its_role_for_ever(site: Site) -> None:
    site.stop()
    before = site.config.read_text()
    site.config.write_text(before.replace('# role = "archive"', 'role = "buffer"'))
    site.spawn()
    assert site.process is not None
    assert site.process.wait(30) == 2
    site.process = None
    assert "a store never changes its role" in site.log.read_text()
    site.config.write_text(before)
    site.start()


def test_a_subscription_to_the_own_site_makes_one_more_instance_in_another_store(tmp_path: Path) -> None:
    """One for each such subscription, wherever the files came from; each is read back like any other."""
    with pair(tmp_path, subscribe=False) as both:
        archive = both.destination
        for label in ("second", "third", "fourth"):
            archive.lbctl("store", "add", str(tmp_path / label), "--label", label, "--role", "archive")
        archive.lbctl("store", "set", "second", "--priority", "1", "--reason", "a test")
        data = {"before.dat": some_bytes(3 << 20, 1), "own.dat": some_bytes(10, 2), "after.dat": some_bytes(1 << 20, 3)}
        both.source.drop_file("before.dat", data["before.dat"])
        archive.lbctl("subscription", "add", "--from", "summit", "--into", "main")
        both.wait_for("it came", (archive.store / "before.dat").exists)
        assert "into which?" in archive.lbctl("subscription", "add", "--from", "archive", exit_code=2)
        archive.lbctl("subscription", "add", "--from", "archive", "--into", "second", "--into", "third")
        both.wait_for("what was there is brought", (tmp_path / "second/before.dat").exists)
        archive.lbctl("subscription", "add", "--from", "archive", "--into", "fourth")
        archive.drop_file("own.dat", data["own.dat"])
        both.source.drop_file("after.dat", data["after.dat"])
        making = both.source.making / "book"
        (making / "sub").mkdir(parents=True)
        (making / "sub/member").write_bytes(b"a member")
        making.rename(both.source.drop_books / "book")
        wanted = {name: digest_of(content) for name, content in data.items()}
        for place in (archive.store, tmp_path / "second", tmp_path / "fourth"):
            both.wait_for(f"all is in {place}", partial(holds, place, wanted))
            both.wait_for("the book, too", (place / "book/sub/member").exists)
        assert standing(tmp_path / "third") == {}, "one instance for each subscription"
        (found,) = archive.client.file("after.dat").files
        here = [instance for instance in found.instances if instance.site == "archive"]
        assert [(instance.state, instance.source_site) for instance in here].count(("verified", "archive")) == 2
        both.wait_for("all is well", archive.is_healthy)
        both.assert_whole()


def holds(store: Path, wanted: dict[str, str]) -> bool:
    """Whether just these single files stand there."""
    return {name: digest for name, digest in standing(store).items() if not name.startswith("book/")} == wanted


def test_intake_leaves_the_reserve_free_and_takes_nothing_into_a_closed_store(tmp_path: Path) -> None:
    """The drop directory is on another filesystem, so that what is dropped must be copied."""
    (tmp_path / "summit/store").mkdir(parents=True)
    with tmpfs(tmp_path / "summit/store", "size=32m"):
        summit = Site(tmp_path / "summit", "summit", bus=f"embedded:{free_port()}")
        with sites(summit):
            summit.start()
            summit.lbctl("store", "set", "main", "--reserve", "25MiB", "--reason", "a test")
            wanted = {"small.dat": some_bytes(1 << 20, 1)}
            summit.drop_file("small.dat", wanted["small.dat"])
            wait_for("it fits beside the reserve", (summit.store / "small.dat").exists, summit)
            wanted["large.dat"] = some_bytes(10 << 20, 2)
            summit.drop_file("large.dat", wanted["large.dat"])
            wait_for("it does not", lambda: summit.client.status().intake[0].state == "paused", summit)
            (problem,) = [known for known in summit.client.status().problems if known.code == "store-full"]
            assert "stay free" in problem.message
            assert summit.left_in_staging() == []
            summit.lbctl("store", "set", "main", "--reserve", "1MiB", "--no-ingestable", "--reason", "it is full")
            wait_for("it is closed", lambda: summit.client.status().intake[0].state == "maintenance", summit)
            assert "store 'main' is not ingestable: it is full" in summit.client.status().intake[0].detail
            assert not (summit.store / "large.dat").exists()
            assert "not ingestable" in summit.lbctl("store", "list")
            summit.lbctl("store", "unset", "main")
            wait_for("it is taken", (summit.store / "large.dat").exists, summit)
            wait_for("all is well", summit.is_healthy, summit)
            assert standing(summit.store) == {name: digest_of(data) for name, data in wanted.items()}
