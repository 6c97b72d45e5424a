"""Dropped at one site, verified at the other, known at both, on either catalog."""

from __future__ import annotations

import functools
import stat
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.oracle import digest_of, digest_of_book, in_book, manifest_of, some_bytes, standing
from tests.support.postgres import Postgres
from tests.support.sites import SQLITE, Pair, pair, wait_for

BOTH = ["archive", "summit"]
BOOK: dict[str, bytes | None] = {
    "frames/f_0001.dat": some_bytes(70_000, 1),
    "frames/f_0002.dat": some_bytes(3, 2),
    ".hidden/.deeper/.file": b"a book keeps its dotfiles",
    "empty/of/all": None,
    "zero": b"",
}
#: 255 bytes in each component, in one and in many characters; a name of 1024 bytes.
LONGEST = "l" * 255
LONGEST_EMOJI = "\N{RINGED PLANET}" * 63 + "abc"
WHOLE_LENGTH = "/".join(["d" * 255, "e" * 255, "f" * 255, "g" * 253 + ".x"])
ODD_NAMES = [
    "with spaces/ leading and trailing ",
    'quotes/it\'s "so" `here`',
    "-rf",
    "--/-n/--help",
    "emoji/\N{RINGED PLANET}\N{TELESCOPE}.fits",
    "%41/%2e%2e/%00",
    "hash#mark#",
    "question?mark?a=b&c",
    "back\\slash\\",
    "semi;colon|pipe$(x)*[a]{b}",
    "umlaut/\u00e4\u4e2d\u6587",
    f"{LONGEST}/{LONGEST_EMOJI}",
    WHOLE_LENGTH,
]


def drop_one_of_each(both: Pair, origin: str = "summit") -> None:
    """One file of 3 MiB and one book into the drop directories of a site."""
    site = both.source if origin == "summit" else both.destination
    site.drop_file("obs/night one/a.dat", some_bytes(3 << 20))
    site.drop_book("book-1", BOOK)


def _is_empty(listed: Callable[[], list[Path]]) -> bool:
    return listed() == []


@pytest.mark.parametrize("catalogs", ["sqlite postgres", "postgres sqlite"])
def test_a_file_and_a_book_arrive_and_both_sites_know(tmp_path: Path, postgres: Postgres, catalogs: str) -> None:
    """Summit ingests, archive fetches and verifies, and summit learns of it; each on either catalog."""
    first, second = (SQLITE if kind == "sqlite" else postgres.new_database() for kind in catalogs.split())
    with pair(tmp_path, catalogs=(first, second)) as both:
        drop_one_of_each(both)
        both.acknowledged(2)

        wanted = {"obs/night one/a.dat": digest_of(some_bytes(3 << 20)), **in_book("book-1", BOOK)}
        for site in both.sites:
            assert standing(site.store) == wanted
            assert site.verified_at("obs/night one/a.dat") == site.verified_at("book-1") == BOTH
            (book,) = site.client.file("book-1").files
            assert (book.digest, book.unit, book.origin) == (digest_of_book(BOOK), "book", "summit")
            shown = site.lbctl("file", "show", "obs/night one/a.dat")
            assert shown.count("verified") == 2
            assert site.lbctl("file", "manifest", "book-1").encode() == manifest_of(BOOK)
            site.lbctl("file", "verify", "book-1")
            assert site.told("instance.registered", "archive") == Counter(["obs/night one/a.dat", "book-1"])
            assert site.left_in_staging() == []
            assert not site.logged("attempt_failed")
            wait_for("emptied directories are gone", functools.partial(_is_empty, site.left_in_drop), *both.sites)
        both.assert_whole()
        assert both.destination.client.status().healthy
        assert stat.S_IMODE((both.destination.store / "obs/night one/a.dat").stat().st_mode) == 0o444


def test_what_was_there_before_the_subscription_comes_too(tmp_path: Path) -> None:
    """A subscription pages through the whole catalog; what does not match it stays where it is."""
    with pair(tmp_path, subscribe=False) as both:
        drop_one_of_each(both)
        both.wait_for("archive has heard of both", lambda: len(both.destination.client.files().files) == 2)
        assert both.destination.client.status().transfers == {}
        both.destination.lbctl("subscription", "add", "--from", "summit", "--match", "obs/**")
        both.acknowledged(1)
        assert list(standing(both.destination.store)) == ["obs/night one/a.dat"]


def test_large_small_empty_and_many_files_arrive_under_any_name(tmp_path: Path) -> None:
    """64 MiB in one file, 300 nested files of 64 KiB, one of no bytes, and names that tempt every parser."""
    large = some_bytes(64 << 20)
    many = {f"{n % 7}/{n % 11}/{n}.dat": some_bytes(64 << 10, n) for n in range(300)}
    odd = {name: name.encode() for name in ODD_NAMES}
    wanted = {
        "large.dat": digest_of(large),
        "empty.dat": digest_of(b""),
        **{f"many/{name}": digest_of(data) for name, data in many.items()},
        **{name: digest_of(data) for name, data in odd.items()},
    }
    with pair(tmp_path) as both:
        both.source.drop_file("large.dat", large)
        both.source.drop_tree("many", many)
        both.source.drop_file("empty.dat", b"")
        for name, data in odd.items():
            both.source.drop_file(name, data)
        both.acknowledged(len(wanted))

        assert standing(both.destination.store) == wanted
        assert standing(both.source.store) == wanted
        for name in ("large.dat", "empty.dat", "many/6/8/41.dat", *ODD_NAMES):
            assert both.source.verified_at(name) == both.destination.verified_at(name) == BOTH
        shown = both.source.lbctl("file", "show", "--", "-rf")
        assert shown.count("verified") == 2
        assert both.source.told("instance.registered", "archive") == Counter(list(wanted))
        both.assert_whole()


def test_a_book_of_two_thousand_members_arrives_as_one_file(tmp_path: Path) -> None:
    """Dotfiles and empty directories are part of a book; one entry tells of all of it."""
    members: dict[str, bytes | None] = {
        f"frames/{n // 100:02}/f_{n:04}.dat": some_bytes(1000 + n, n) for n in range(1990)
    }
    members |= {f".dot/.{n}": b"." * n for n in range(10)}
    members |= {f"empty/{n}/here": None for n in range(5)}
    with pair(tmp_path) as both:
        both.source.drop_book("night", members)
        both.acknowledged(1)
        for site in both.sites:
            assert standing(site.store) == in_book("night", members)
            assert site.verified_at("night") == BOTH
            (book,) = site.client.file("night").files
            assert book.digest == digest_of_book(members)
            assert book.size_bytes == sum(len(data or b"") for data in members.values())
            assert site.told("instance.registered", "archive") == Counter(["night"])
        assert both.destination.left_in_staging() == []


def test_dotfiles_and_unfinished_names_stay_in_the_drop_directory(tmp_path: Path) -> None:
    """Single files named ``.*``, ``*.part`` and ``*.tmp`` are somebody's work in progress, until they are renamed."""
    with pair(tmp_path) as both:
        for name in (".hidden", "a.part", "b.tmp"):
            both.source.drop_file(name, b"unfinished")
        both.source.drop_file("done.dat", b"finished")
        both.acknowledged(1)
        both.source.drop.joinpath("a.part").rename(both.source.drop / "a.dat")
        both.acknowledged(2)
        assert sorted(standing(both.destination.store)) == ["a.dat", "done.dat"]
        assert sorted(path.name for path in both.source.left_in_drop()) == [".hidden", "b.tmp"]
