"""A callback site reads no journal: it is told by letter what it is offered, and answers in its own journal."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from tests.support.oracle import digest_of, standing
from tests.support.sites import Site, free_port, sites, wait_for


@contextmanager
def three(root: Path) -> Generator[tuple[Site, Site, Site]]:
    """An archive, a summit of full access, and a campus of access callback; both others offer it ``public/**``."""
    archive = Site(root / "archive", "archive", bus=f"embedded:{free_port()}")
    summit, campus = Site(root / "summit", "summit"), Site(root / "campus", "campus")
    with sites(archive, summit, campus):
        archive.start()
        wait_for("the bus is up", lambda: archive.client.status().bus.connected, archive)
        for site, access in ((summit, "full"), (campus, "callback")):
            token = archive.lbctl("site", "invite", "--access", access).strip()
            site.lbctl("site", "join", "--yes", token)
            site.start()
        wait_for("all know all", lambda: all(knows(site) == 3 for site in (archive, summit, campus)), archive, campus)
        for site in (archive, summit):
            site.lbctl("offer", "set", "campus", "public/**")
        campus.lbctl("subscription", "add", "--from", "archive")
        campus.lbctl("subscription", "add", "--from", "summit")
        yield archive, summit, campus


def knows(site: Site) -> int:
    """How many sites."""
    return len(site.client.sites())


def holds(site: Site, wanted: set[str]) -> bool:
    """Whether a site knows that just this stands at the campus."""
    return set(site.told("instance.registered", "campus")) == wanted


def test_a_callback_site_gets_what_it_is_offered_and_hears_of_nothing_else(tmp_path: Path) -> None:
    with three(tmp_path) as (archive, summit, campus):
        everybody = (archive, summit, campus)
        for site in (archive, summit):
            site.drop_tree("public", {f"{site.name}.dat": site.name.encode()})
            site.drop_tree("secret", {f"{site.name}.dat": b"not for all"})
        wanted = {f"public/{name}.dat": digest_of(name.encode()) for name in ("archive", "summit")}
        wait_for("both arrive", lambda: campus.client.status().counts.instances_here == 2, *everybody)
        assert standing(campus.store) == wanted
        for site in (archive, summit):
            wait_for(f"{site.name} knows", partial(holds, site, set(wanted)), *everybody)
        assert campus.client.status().counts.files == 2
        assert {journal.site for journal in campus.client.verify_journals() if journal.entries} == {"campus"}
        assert "no file named" in campus.lbctl("file", "show", "secret/archive.dat", exit_code=4)

        # What was there before is told when it is offered.
        archive.lbctl("offer", "set", "campus", "public/**", "secret/**")
        wait_for("that arrives, too", lambda: "secret/archive.dat" in standing(campus.store), *everybody)
        assert "secret/summit.dat" not in standing(campus.store)

        for site in everybody:
            site.lbctl("events", "audit")

        campus.kill()
        campus.start()
        summit.drop_file("public/late.dat", b"late")
        wait_for("the next arrives after a kill", lambda: "public/late.dat" in standing(campus.store), *everybody)
        campus.lbctl("events", "audit")


def letters_waiting(site: Site) -> int:
    """Letters that the bus has not taken."""
    with closing(sqlite3.connect(site.root / "catalog.sqlite")) as catalog:
        return int(catalog.execute("select count(*) from mail").fetchone()[0])


def test_letters_that_the_bus_lost_are_told_again(tmp_path: Path) -> None:
    with three(tmp_path) as (archive, summit, campus):
        everybody = (archive, summit, campus)
        summit.drop_file("public/first.dat", b"first")
        wait_for("it arrives", lambda: campus.client.status().counts.instances_here == 1, *everybody)
        campus.stop()
        summit.drop_file("public/lost.dat", b"lost")
        wait_for("it is ingested", lambda: summit.client.status().counts.files == 2, *everybody)
        wait_for("its letter is sent", lambda: not letters_waiting(summit), *everybody)
        archive.stop()
        shutil.rmtree(archive.root / "nats" / "jetstream")
        archive.start()
        campus.start()
        summit.drop_file("public/next.dat", b"next")
        wait_for("all arrive", lambda: campus.client.status().counts.instances_here == 3, *everybody)
        assert summit.logged("told_again")
        wait_for("the incident is over", lambda: not incidents(campus), *everybody)
        campus.lbctl("events", "audit")


def incidents(site: Site) -> list[str]:
    """Open ones about letters."""
    return [problem.subject for problem in site.client.status().problems if problem.code == "letters-missing"]
