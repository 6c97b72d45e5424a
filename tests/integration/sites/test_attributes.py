"""What is kept of a file beside its bytes, whichever way it came: renamed in, copied in, or fetched."""

from __future__ import annotations

import grp
import json
import os
import stat
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.support.oracle import kept
from tests.support.sites import Pair, Site, pair

GROUP = grp.getgrgid(os.getegid()).gr_name
SHARED = {'# dir_mode = ""': 'dir_mode = "2750"', '# group = ""': f"group = {json.dumps(GROUP)}"}
MTIME_NS = 1_000_000_000_123_456_789
SPARSE_BYTES = 24 << 20


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Generator[Pair]:
    """Two sites as the systemd unit runs them, with directories for a group; nothing is fetched yet."""
    before = os.umask(0o077)
    try:
        with pair(tmp_path_factory.mktemp("attributes"), subscribe=False, changed=SHARED) as made:
            yield made
    finally:
        os.umask(before)


def _make(path: Path, number: int, *, executable: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(f"{path.name} {number}".encode())
    path.chmod(0o755 if executable else 0o644)
    os.utime(path, ns=(MTIME_NS, MTIME_NS + number))


def _sparse(path: Path) -> None:
    """One byte at the end of a hole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.seek(SPARSE_BYTES - 1)
        file.write(b"x")
    os.utime(path, ns=(MTIME_NS, MTIME_NS))


def _drop(site: Site, way: str) -> None:
    """Files and a book: executable ones, others, a sparse one, an empty directory."""
    files, book = site.making / f"files-{way}", site.making / f"book-{way}"
    for place in (files, book):
        _make(place / "sub/run", 1, executable=True)
        _make(place / "sub/plain", 2)
        _make(place / "sub/old", -MTIME_NS - 5)
        _sparse(place / "sparse")
    (book / "empty").mkdir()
    files.rename(site.drop / way)
    book.rename(site.drop_books / f"book-{way}")


def _copying(site: Site, *, on: bool) -> None:
    """Who lets others rename in a drop directory has all copied; nothing is to be claimed meanwhile."""
    for drop in (site.drop, site.drop_books):
        drop.chmod(0o777 if on else 0o755)


EXPECTED = {
    "sub/run": (MTIME_NS + 1, 0o555),
    "sub/plain": (MTIME_NS + 2, 0o444),
    "sub/old": (-5, 0o444),
    "sparse": (MTIME_NS, 0o444),
}


def test_renamed_copied_and_fetched_files_and_books_keep_the_same(both: Pair) -> None:
    source, destination = both.sites
    for way in ("renamed", "copied"):
        _copying(source, on=way == "copied")
        number = len(source.told("file.ingested"))
        _drop(source, way)
        both.wait_for("all is ingested", lambda number=number: len(source.told("file.ingested")) == number + 5)  # type: ignore[misc]
    destination.lbctl("subscription", "add", "--from", "summit")
    both.acknowledged(10)
    expected = {
        f"{where}{way}/{name}": what
        for way in ("renamed", "copied")
        for where in ("", "book-")
        for name, what in EXPECTED.items()
    }
    for site in both.sites:
        assert kept(site.store) == expected
        for name in expected:
            if name.endswith("/sparse"):
                assert (site.store / name).stat().st_blocks * 512 < 1 << 20, f"{name} at {site.name}"
        assert site.left_in_staging() == []
        assert "executable" in site.lbctl("file", "show", "renamed/sub/run")
        (shown,) = site.client.file("copied/sub/plain").files
        assert (shown.modified_at, shown.executable) == ("2001-09-09T01:46:40.123456Z", False)
        for directory in [path for path in site.store.rglob("*") if path.is_dir() and ".librarian" not in path.parts]:
            state = directory.stat()
            assert (stat.S_IMODE(state.st_mode), state.st_gid) == (0o2750, os.getegid()), directory
    assert source.told("file.attributed") == destination.told("file.attributed")
    assert set(source.told("file.attributed")) == {
        *(f"{way}/sub/run" for way in ("renamed", "copied")),
        *(f"book-{way}" for way in ("renamed", "copied")),
    }
    assert not destination.logged("attributes_missing")
    both.assert_whole()


def test_the_doctor_says_how_directories_and_drop_directories_are(both: Pair) -> None:
    """One line of each; "renamed" of none where all is copied."""
    source = both.source
    _copying(source, on=True)
    checks = source.client.doctor()
    drops = [check for check in checks if check.check == f"drop directory {source.drop}"]
    assert [("copied into" in check.message, "renamed into" in check.message) for check in drops] == [(True, False)]
    (made,) = [check for check in checks if check.check == "directories of store main"]
    assert (made.level, "2750" in made.message) == ("ok", True)
    source.drop.rename(source.drop.with_name("away"))
    try:
        levels = [check.level for check in source.client.doctor() if check.check == f"drop directory {source.drop}"]
        assert levels == ["error"]
    finally:
        source.drop.with_name("away").rename(source.drop)
        _copying(source, on=False)


@pytest.mark.parametrize("wrong", ["missing", "other bytes"])
def test_a_list_that_is_missing_or_does_not_fit_is_ignored_and_said_so(both: Pair, wrong: str) -> None:
    """The book comes all the same, and nothing is suspected for that."""
    source, destination = both.sites
    name = f"book-{wrong.replace(' ', '-')}"
    for rule in destination.client.subscriptions():
        destination.lbctl("subscription", "rm", rule.id)
    book = source.making / name
    _make(book / "run", len(name), executable=True)
    book.rename(source.drop_books / name)
    both.wait_for("it is ingested", lambda: name in source.told("file.ingested"))
    (said,) = [entry for entry in source.entries("file.attributed", "summit") if entry["name"] == name]
    lists = source.store / ".librarian" / "attributes" / said["list"].removeprefix("blake3:")
    text = lists.read_bytes()
    lists.unlink()
    if wrong == "other bytes":
        lists.write_bytes(text.replace(b" x", b""))
    destination.lbctl("subscription", "add", "--from", "summit")
    both.wait_for("it is there", lambda: destination.verified_at(name) == ["archive", "summit"])
    assert stat.S_IMODE((destination.store / name / "run").stat().st_mode) == 0o444
    (transfer,) = [known for known in destination.transfers() if known.name == name]
    assert (transfer.state, "could not be fetched" in transfer.message) == ("stored", True)
    assert [line["name"] for line in destination.logged("attributes_missing") if line["name"] == name] == [name]
    both.at_both("nothing is suspected", Site.is_healthy)
    assert destination.left_in_staging() == []
