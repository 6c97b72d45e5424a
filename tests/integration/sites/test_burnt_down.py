"""The commands of docs/burnt-down.md, run as they are written: a burnt site comes back.

What its disk held is called verified by nobody, unless the disk is there.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.sites import Pair, Site, free_port, sites

from librarian_protocol.errors import NotFound

PAGE = Path(__file__).parents[3] / "docs" / "burnt-down.md"
SOON = {"# heads_every_s = 30.0": "heads_every_s = 1.0"}
_LINE = re.compile(r"^(archive|campus)\$ (.*?)(?: +#.*)?$")


def commands(section: str) -> list[tuple[str, str]]:
    """Where each command of a section is given, and the command."""
    _, _, rest = PAGE.read_text().partition(f"\n## {section}\n")
    text, _, _ = rest.partition("\n## ")
    blocks = re.findall(r"```console\n(.*?)```", text, re.S)
    found = [_LINE.match(line) for block in blocks for line in block.splitlines()]
    assert found, section
    return [(match[1], match[2]) for match in found if match is not None]


class Fire:
    """The archive, the campus that burns, and what a person does afterwards."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.archive = Site(root / "archive", "archive", bus=f"embedded:{free_port()}", changed=SOON)
        self.campus = Site(root / "campus", "campus", changed=SOON)
        self.mounted: Callable[[], None] = self._nothing
        self.token = ""
        self.open = ExitStack()
        self.open.enter_context(sites(self.archive, self.campus))

    def __enter__(self) -> Fire:
        """Each holds a file of the other, and campus one that nobody else holds."""
        both = Pair(self.archive, self.campus)
        both.join()
        self.campus.lbctl("subscription", "add", "--from", "archive", "--match", "of *")
        self.archive.lbctl("subscription", "add", "--from", "campus", "--match", "of *")
        self.archive.drop_file("of archive.dat", b"of archive")
        self.campus.drop_file("alone.dat", b"alone")
        self.campus.drop_file("of campus.dat", b"of campus")
        for name in ("of archive.dat", "of campus.dat"):
            self.everywhere("both hold both", name, ["archive", "campus"])
        both.wait_for("the archive knows of the other one", lambda: held_at(self.archive, "alone.dat") == ["campus"])
        return self

    def __exit__(self, *_: object) -> None:
        self.open.close()

    # ---- what is written on the page ---------------------------------------------------------------------

    def follow(self, section: str) -> None:
        """Do what the page says."""
        for where, command in commands(section):
            self._do(where, command)

    def _do(self, where: str, command: str) -> None:
        match shlex.split(command):
            case ["systemctl", "start", "lbd"]:
                self.at(where).start()
            case ["systemctl", "restart", "lbd"]:
                self.at(where).stop()
                self.at(where).start()
            case ["mount", _]:
                self.mounted()
            case ["lbctl", "init", *_]:
                self.campus = Site(self.root / "again", "campus", changed=SOON)
                self.open.enter_context(sites(self.campus))
            case ["lbctl", *arguments, ">", "token"]:
                self.token = self.at(where).lbctl(*arguments)
            case ["lbctl", *arguments, "<", "token"]:
                self.at(where).lbctl(*arguments, stdin=self.token)
            case ["lbctl", *arguments]:
                key = "".join(self._key() for argument in arguments if argument == "ed25519:…")
                self.at(where).lbctl(*(key if argument == "ed25519:…" else argument for argument in arguments))
            case _:
                raise AssertionError(f"nobody knows how to do {command!r}")

    def at(self, where: str) -> Site:
        """The site of the prompt."""
        return {"archive": self.archive, "campus": self.campus}[where]

    def _key(self) -> str:
        (mine,) = [site for site in json.loads(self.campus.lbctl("site", "list", "-o", "json")) if site["here"]]
        key: str = mine["key"]
        return key

    def _nothing(self) -> None:
        raise AssertionError("nothing is to be mounted")

    # ---- what must come of it ----------------------------------------------------------------------------

    def everywhere(self, what: str, name: str, where: list[str]) -> None:
        """Both sites say in the end that the file is verified there, and nowhere else."""
        Pair(self.archive, self.campus).at_both(what, lambda site: held_at(site, name) == where)

    def is_whole(self) -> None:
        """Journals verify and audit clean; data goes both ways."""
        for site in (self.archive, self.campus):
            site.lbctl("events", "verify")
            site.lbctl("events", "audit")
        self.campus.drop_file("of later.dat", b"later")
        self.everywhere("what is new arrives", "of later.dat", ["archive", "campus"])


def held_at(site: Site, name: str) -> list[str]:
    """Where a site says that the file is verified."""
    try:
        return sorted(site.verified_at(name))
    except NotFound:
        return []


@pytest.fixture
def fire(tmp_path: Path) -> Generator[Fire]:
    with Fire(tmp_path) as made:
        yield made


def test_with_nothing_left_what_was_on_the_disk_is_called_verified_by_nobody(fire: Fire) -> None:
    lost = fire.campus
    lost.kill()
    shutil.rmtree(lost.root)
    (at_stake,) = json.loads(
        fire.archive.lbctl("file", "list", "--at", "campus", "--not-at", "archive", "--instances", "1", "-o", "json")
    )
    assert at_stake["name"] == "alone.dat"
    fire.follow("With nothing")
    fire.everywhere("what it subscribes to is there again", "of archive.dat", ["archive", "campus"])
    fire.everywhere("what it took in itself is there again", "of campus.dat", ["archive", "campus"])
    fire.everywhere("what only it held is nowhere", "alone.dat", [])
    (gone,) = json.loads(fire.archive.lbctl("file", "list", "--instances", "0", "-o", "json"))
    assert gone["name"] == "alone.dat"
    fire.is_whole()


def test_with_its_store_all_of_it_counts_again(fire: Fire) -> None:
    lost = fire.campus
    lost.kill()

    def mounted() -> None:
        assert held_at(fire.archive, "alone.dat") == [], "nothing counts while it is revoked"
        fire.campus.store.rmdir()
        lost.store.rename(fire.campus.store)

    fire.mounted = mounted
    fire.follow("With its store")
    for name, where in {"of archive.dat": ["archive", "campus"], "alone.dat": ["campus"]}.items():
        fire.everywhere("it is there as before", name, where)
    assert fire.campus.transfers() == []
    fire.is_whole()


def test_with_its_catalog_the_lost_store_counts_nowhere(fire: Fire) -> None:
    campus = fire.campus
    campus.kill()
    shutil.rmtree(campus.store)
    fire.mounted = campus.store.mkdir
    fire.follow("With its catalog")
    fire.everywhere("what it subscribes to is there again", "of archive.dat", ["archive", "campus"])
    fire.everywhere("what only it held is nowhere", "alone.dat", [])
    campus.lbctl("subscription", "add", "--from", "archive")
    fire.everywhere("what it took in itself is there again", "of campus.dat", ["archive", "campus"])
    fire.is_whole()


def test_with_an_old_backup_it_learns_what_it_said_since(tmp_path: Path) -> None:
    with Fire(tmp_path) as fire:
        campus = fire.campus
        campus.stop()
        kept = tmp_path / "backup"
        shutil.copytree(campus.root, kept, symlinks=True, ignore=shutil.ignore_patterns("store", "*.sock"))
        campus.start()
        campus.drop_file("of tuesday.dat", b"of tuesday")
        fire.everywhere("it arrives", "of tuesday.dat", ["archive", "campus"])
        campus.kill()
        for part in kept.iterdir():
            if part.is_dir():
                shutil.rmtree(campus.root / part.name, ignore_errors=True)
                shutil.copytree(part, campus.root / part.name, symlinks=True)
            else:
                shutil.copy2(part, campus.root / part.name)
        fire.follow("With an old backup")
        fire.everywhere("it is known again", "of tuesday.dat", ["archive", "campus"])
        fire.everywhere("it is there as before", "alone.dat", ["campus"])
        fire.is_whole()
