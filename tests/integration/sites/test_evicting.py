"""Three sites give up instances: by hand, by rule, at once; through trash, with real bytes, real stops."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.support.nats import nats_server
from tests.support.sites import Site, free_port, join, sites, wait_for

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
        for site in all3:
            site.lbctl("events", "audit")
