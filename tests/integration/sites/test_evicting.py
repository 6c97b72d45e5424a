"""Three sites give up instances: by hand, by rule, at once; through trash, with real bytes, real stops."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from tests.support.nats import nats_server
from tests.support.sites import Site, free_port, join, sites, wait_for

from librarian_protocol import api

NO_GRACE = {"LIBRARIAN_RETENTION__TRASH": "0s"}


@contextmanager
def three(root: Path, url: str, overlay: dict[str, str] | None = None) -> Generator[tuple[Site, Site, Site]]:
    """``summit``, and ``north`` and ``south`` that are subscribed to it; each in a failure domain of its own."""
    overlay = overlay or {}
    summit = Site(root / "summit", "summit", bus=url, overlay=overlay)
    north, south = (Site(root / name, name, overlay=overlay) for name in ("north", "south"))
    with sites(summit, north, south):
        summit.start()
        wait_for("the bus is up", lambda: summit.client.status().bus.connected, summit)
        for site in (north, south):
            join(summit, site)
            summit.lbctl("site", "set", site.name, "--domain", site.name)
            site.lbctl("subscription", "add", "--from", "summit")
        yield summit, north, south


def _everywhere(all_of_them: tuple[Site, ...], name: str, *where: str) -> bool:
    """Whether every site knows of good instances at just these."""
    return all(name in site.told("file.ingested", "summit") for site in all_of_them) and all(
        site.verified_at(name) == sorted(where) for site in all_of_them
    )


def test_an_instance_is_given_up_where_enough_good_ones_are_left(tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats", free_port()) as server, three(tmp_path, server.url, NO_GRACE) as all3:
        summit, north, _ = all3
        summit.drop_file("raw.dat", b"seen once" * 1000)
        wait_for("all have it", lambda: _everywhere(all3, "raw.dat", "summit", "north", "south"), *all3)
        would = summit.lbctl("file", "evict", "raw.dat", "--store", "main", "--dry-run", "--allow-archive")
        assert "would-go" in would
        said = summit.lbctl("file", "evict", "raw.dat", "--store", "main", "--allow-archive")
        assert all(words in said for words in ("in-trash", "north vouches", "south vouches"))
        wait_for("it is gone", lambda: _everywhere(all3, "raw.dat", "north", "south"), *all3)
        assert not (summit.store / "raw.dat").exists()
        wait_for("nothing is left in trash", lambda: not list((summit.store / ".librarian/trash").iterdir()), summit)
        refused = north.lbctl("file", "evict", "raw.dat", "--store", "main", "--allow-archive", exit_code=11)
        assert "not-enough-instances" in refused
        assert (north.store / "raw.dat").read_bytes() == b"seen once" * 1000
        summit.lbctl("transfer", "add", "raw.dat")
        wait_for("it is wanted again", lambda: _everywhere(all3, "raw.dat", "summit", "north", "south"), *all3)
        for site in all3:
            site.lbctl("events", "audit")


@pytest.mark.fault(39)
def test_three_sites_that_each_want_to_give_up_everything_at_once_leave_two_good_ones(tmp_path: Path) -> None:
    names = [f"f{number:02}.dat" for number in range(12)]
    with nats_server(tmp_path / "nats", free_port()) as server, three(tmp_path, server.url, NO_GRACE) as all3:
        for name in names:
            all3[0].drop_file(name, name.encode() * 100)
        for name in names:
            wait_for("all have it", partial(_everywhere, all3, name, "summit", "north", "south"), *all3)
        with ThreadPoolExecutor(len(all3) * 4) as threads:
            evicted = list(threads.map(_evict, [(site, name) for name in names for site in all3]))
        assert {one.outcome for one in evicted} <= {"in-trash", "refused"}
        for name in names[:3]:  # where all were in one another's way, nothing went
            for site in all3:
                _evict((site, name))
        for site in all3:
            wait_for("its trash is empty", partial(_is_empty, site), *all3)
        for name in names:
            whole = [site.name for site in all3 if (site.store / name).exists()]
            assert len(whole) >= 2, f"of {name} are left: {whole}"
            wait_for("all know", partial(_everywhere, all3, name, *whole), *all3)
        assert any(not (site.store / name).exists() for site in all3 for name in names)
        for site in all3:
            site.lbctl("events", "audit")


def test_what_is_in_trash_is_served_comes_back_at_a_start_and_when_a_person_wants_it(tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats", free_port()) as server, three(tmp_path, server.url) as all3:
        summit, north, south = all3
        summit.drop_file("raw.dat", b"seen once")
        summit.drop_book("book", {"a": b"a" * 100, "b/c": b"c"})
        for name in ("raw.dat", "book"):
            wait_for("all have it", partial(_everywhere, all3, name, "summit", "north", "south"), *all3)
            summit.lbctl("file", "evict", name, "--store", "main", "--allow-archive")
            assert not (summit.store / name).exists()
        assert [item.name for page in summit.client.trash() for item in page] == ["raw.dat", "book"]
        summit.lbctl("trash", "restore", "book")
        assert (summit.store / "book/b/c").read_bytes() == b"c"

        _spoil(north.store / "raw.dat", b"seen 0nce")
        north.lbctl("file", "verify", "raw.dat", exit_code=6)
        _spoil(south.store / "raw.dat", b"seen 0nce")
        south.lbctl("file", "verify", "raw.dat", exit_code=6)
        for site in (north, south):
            wait_for("it is fetched again, from trash", partial(_stands, site, "raw.dat", b"seen once"), *all3)

        summit.kill()
        summit.start()
        wait_for("a start puts it back", partial(_stands, summit, "raw.dat", b"seen once"), *all3)
        wait_for("nothing is in trash", partial(_is_empty, summit), *all3)
        assert summit.verified_at("raw.dat") == ["north", "south", "summit"]
        assert set(summit.told("instance.removed")) == set()
        assert not summit.problems().keys() - {"bus-unsafe"}


def test_nothing_is_given_up_that_a_voucher_alone_knows_to_be_held(tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats", free_port()) as server, three(tmp_path, server.url, NO_GRACE) as all3:
        summit, north, south = all3
        summit.drop_file("raw.dat", b"seen once")
        wait_for("all have it", partial(_everywhere, all3, "raw.dat", "summit", "north", "south"), *all3)
        north.kill()
        summit.lbctl("hold", "add", "--match", "raw*", "--reason", "look at it once more")
        wait_for("south knows", lambda: len(south.client.holds()) == 1, south)
        summit.kill()
        north.start()
        refused = _evict((north, "raw.dat"))
        assert refused.refusal in {"held", "not-enough-instances"}
        assert (north.store / "raw.dat").read_bytes() == b"seen once"


def test_a_rule_gives_up_what_is_old_enough_and_says_why_the_rest_stays(tmp_path: Path) -> None:
    rule = '{store = "main", match = "raw/**", after = "1s", allow_archive = true}'
    with nats_server(tmp_path / "nats", free_port()) as server, three(tmp_path, server.url, NO_GRACE) as all3:
        summit, north, south = all3
        south.kill()
        summit.drop_tree("raw", {"a.dat": b"a", "b.dat": b"b"})
        summit.drop_tree("kept", {"c.dat": b"c"})
        for name in ("raw/a.dat", "raw/b.dat", "kept/c.dat"):
            wait_for("two have it", partial(_everywhere, (summit, north), name, "summit", "north"), summit, north)
        summit.stop()
        summit.overlay["LIBRARIAN_RETENTION__RULE"] = f"[{rule}]"
        summit.start()
        wait_for("it was tried", lambda: summit.client.run_retention()[0].refused, summit, north)
        assert "not-enough-instances" in summit.lbctl("retention", "plan")
        assert (summit.store / "raw/a.dat").exists()
        south.start()
        for name in ("raw/a.dat", "raw/b.dat"):
            wait_for("all have it", (south.store / name).exists, *all3)
        summit.lbctl("retention", "run")
        for name in ("raw/a.dat", "raw/b.dat"):
            wait_for("it is gone", partial(_everywhere, all3, name, "north", "south"), *all3)
        assert (summit.store / "kept/c.dat").exists()
        assert {str(entry["reason"]).split(":")[0] for entry in south.entries("instance.removed")} == {"rule"}


def _evict(wish: tuple[Site, str]) -> api.Evicted:
    site, name = wish
    return site.client.evict(api.Evict(name=name, store="main", allow_archive=True))


def _is_empty(site: Site) -> bool:
    return not list((site.store / ".librarian/trash").iterdir())


def _stands(site: Site, name: str, data: bytes) -> bool:
    path = site.store / name
    return path.exists() and path.read_bytes() == data


def _spoil(path: Path, data: bytes) -> None:
    """Other bytes of the same length, in place."""
    path.chmod(0o644)
    path.write_bytes(data)
