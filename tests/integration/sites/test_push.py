"""A source that nobody can dial pushes to a destination that can be dialled: whole daemons, TLS, a bad link, kills."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from tests.support.chaos_proxy import ThreadedProxy
from tests.support.sites import Pair, Site, free_port, sites

SMALL = 500
LARGE_BYTES = 96 << 20
#: All is on one machine: a site that nobody can dial has no loopback address by which that would be known.
LOOPBACK = {"LIBRARIAN_DATA__LOOPBACK_PEERS": "on"}


@contextmanager
def pushing(root: Path, advertise: str = "", listen: str = "") -> Generator[Pair]:
    """``summit`` dials out only; ``archive`` speaks TLS, at ``advertise`` for others."""
    bus = f"embedded:{free_port()}"
    source = Site(root / "summit", "summit", bus=bus, overlay={"LIBRARIAN_DATA__DIALABLE": "false", **LOOPBACK})
    overlay = {"LIBRARIAN_DATA__TLS": "on"}
    if advertise:
        overlay |= {"LIBRARIAN_DATA__ADVERTISE": advertise, "LIBRARIAN_DATA__LISTEN": listen}
    destination = Site(root / "archive", "archive", overlay=overlay)
    with sites(source, destination):
        made = Pair(source, destination)
        made.join()
        destination.lbctl("subscription", "add", "--from", "summit")
        yield made


def drop_everything(source: Site) -> dict[str, bytes]:
    """Small files, a large one, a book; what must stand at the destination by path."""
    small = {f"{number:04d}.dat": os.urandom(1000 + number) for number in range(SMALL)}
    large = os.urandom(LARGE_BYTES)
    book = {"raw/a.dat": os.urandom(5 << 20), "raw/b.dat": os.urandom(2000), "empty": b""}
    source.drop_tree("small", small)
    source.drop_file("large.dat", large)
    source.drop_book("night", dict(book))
    wanted = {f"small/{name}": data for name, data in small.items()}
    wanted["large.dat"] = large
    wanted |= {f"night/{path}": data for path, data in book.items()}
    return wanted


def assert_identical(destination: Site, wanted: dict[str, bytes]) -> None:
    for path, data in wanted.items():
        assert (destination.store / path).read_bytes() == data, path


def test_everything_is_pushed_and_acknowledged(tmp_path: Path) -> None:
    with pushing(tmp_path) as pair:
        wanted = drop_everything(pair.source)
        pair.acknowledged(SMALL + 2, 120)
        assert_identical(pair.destination, wanted)
        assert len(pair.source.logged("pushed")) >= 3
        pair.assert_whole()


@pytest.mark.timeout(400)
def test_pushes_outlive_a_flapping_link_and_kills_of_both_sides(tmp_path: Path) -> None:
    """What was staged before a kill is gone on with."""
    port = free_port()
    with (
        ThreadedProxy(port, bytes_per_s=800e6 / 8) as link,
        pushing(tmp_path, link.proxy.address, f"127.0.0.1:{port}") as pair,
    ):
        link.flap()
        wanted = drop_everything(pair.source)
        for victim, staged in ((pair.destination, 16 << 20), (pair.source, 48 << 20)):
            pair.wait_for("a part is staged", partial(reached, pair.destination, staged), 90)
            victim.kill()
            victim.start()
        pair.acknowledged(SMALL + 2, 200)
        assert_identical(pair.destination, wanted)
        assert link.proxy.passed_up < 1.2 * sum(map(len, wanted.values()))
        pair.assert_whole()


def reached(site: Site, size_bytes: int) -> bool:
    """Whether so much of one file is staged."""
    return largest_staged(site) > size_bytes


def largest_staged(site: Site) -> int:
    """Bytes of the largest staged file."""
    staging = site.store / ".librarian" / "staging"
    with suppress(FileNotFoundError):  # it was placed meanwhile
        return max((path.stat().st_size for path in staging.glob("t*") if path.is_file()), default=0)
    return 0


@pytest.mark.parametrize("dialable", ["true", "false"])
def test_a_site_that_nobody_can_dial_says_so(tmp_path: Path, dialable: str) -> None:
    site = Site(
        tmp_path / "summit",
        "summit",
        bus=f"embedded:{free_port()}",
        overlay={"LIBRARIAN_DATA__DIALABLE": dialable},
    )
    with sites(site):
        site.start()
        (announced,) = site.entries("site.announced")
        (offer,) = announced["adapters"]
        assert offer["dial"] == ("destination" if dialable == "true" else "source")
        assert bool(offer["address"]) == (dialable == "true")
