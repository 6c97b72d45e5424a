"""A site whose catalog is replaced by an older one, or is lost: it finds out, takes back what it said, and goes on."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from tests.support.oracle import digest_of, some_bytes, standing
from tests.support.sites import Pair, Site, join, pair, sites, wait_for

from librarian_daemon.runtime import machine

SOON = {"# heads_every_s = 30.0": "heads_every_s = 1.0"}


def drop_some(site: Site, prefix: str, number: int = 5) -> dict[str, str]:
    """Drop files; what must stand."""
    data = {f"{prefix}-{n}.dat": some_bytes(3000, (site.name, prefix, n)) for n in range(number)}
    for name, content in data.items():
        site.drop_file(name, content)
    return {name: digest_of(content) for name, content in data.items()}


def catalog_files(site: Site) -> list[Path]:
    return list(site.root.glob("catalog.sqlite*"))


def back_up(site: Site, to: Path) -> None:
    """Copy the catalog of a site, whether it runs or not."""
    to.mkdir()
    with (
        closing(sqlite3.connect(site.root / "catalog.sqlite", timeout=10)) as catalog,
        closing(sqlite3.connect(to / "catalog.sqlite")) as copy,
    ):
        catalog.backup(copy)


def restore(site: Site, from_: Path) -> None:
    """Put it back."""
    for path in catalog_files(site):
        path.unlink()
    for path in from_.iterdir():
        shutil.copy2(path, site.root)


def numbers_of(site: Site, origin: str) -> list[tuple[str, int]]:
    """(incarnation, number) of every entry of an origin that is held."""
    return [(event.incarnation, event.seq) for event in site.client.events(site=origin, after=0)]


def in_quarantine(site: Site) -> bool:
    """Whether it neither vouches nor evicts now, read where later code must ask, too."""
    with sqlite3.connect(f"file:{site.root}/catalog.sqlite?mode=ro", uri=True, timeout=10) as catalog:
        row = catalog.execute("SELECT value FROM meta WHERE key = 'recovery'").fetchone()
    return bool(row and row[0])


def agree(both: Pair) -> bool:
    """Whether both know the same files with the same instances."""
    found = [
        sorted((file.name, file.digest, tuple(sorted(file.sites))) for file in site.client.files().files)
        for site in both.sites
    ]
    return found[0] == found[1]


def matches(site: Site, wanted: set[str]) -> bool:
    """Whether these are the globs of all subscriptions that a site knows."""
    return {subscription.match for subscription in site.client.subscriptions()} == wanted


@pytest.mark.fault(23)
def test_a_site_with_an_old_catalog_takes_back_what_it_said_and_goes_on(tmp_path: Path) -> None:
    with pair(tmp_path, changed=SOON) as both:
        source, destination = both.sites
        wanted = drop_some(destination, "of-archive-early")
        both.source.lbctl("subscription", "add", "--from", "archive")
        wanted |= drop_some(source, "early")
        both.wait_for("all are everywhere", lambda: all(len(standing(site.store)) == 10 for site in both.sites))
        destination.stop()
        back_up(destination, tmp_path / "backup")
        destination.start()
        wanted |= drop_some(destination, "of-archive-late")
        wanted |= drop_some(source, "late")
        both.wait_for("all are everywhere", lambda: all(len(standing(site.store)) == 20 for site in both.sites))
        both.wait_for("both agree", lambda: agree(both))
        both.wait_for("all is sent", lambda: destination.client.status().journal.outbox == 0)
        said = numbers_of(source, "archive")
        destination.stop()

        restore(destination, tmp_path / "backup")
        destination.spawn()
        wanted |= drop_some(destination, "while-recovering")
        both.wait_for("it answers", destination.answers)
        both.wait_for("the quarantine is known", lambda: destination.logged("catalog_behind"))
        both.wait_for("it is over by itself", lambda: not in_quarantine(destination), deadline_s=60)
        both.wait_for("it says so", lambda: destination.logged("recovered"))
        both.wait_for(
            "what was dropped is everywhere", lambda: all(len(standing(site.store)) == 25 for site in both.sites)
        )
        both.wait_for("both agree", lambda: agree(both), deadline_s=60)
        for site in both.sites:
            assert standing(site.store) == wanted
            found = numbers_of(site, "archive")
            assert len(found) == len(set(found)), "no number is used twice in an incarnation"
            assert set(said) <= set(found), "nothing that was said is lost"
        both.wait_for("the other one was told", lambda: source.problems().get("rewound") == ["archive"])
        both.wait_for("all is well", lambda: destination.client.status().healthy)
        both.assert_whole()


@pytest.mark.fault(23)
def test_what_was_accepted_and_told_to_nobody_before_a_restore_is_in_conflict_with_what_got_its_name_since(
    tmp_path: Path,
) -> None:
    """Nobody else ever heard of it, and the catalog that knew it is gone: its bytes alone tell of it."""
    with pair(tmp_path, changed=SOON) as both:
        source, destination = both.sites
        destination.stop()
        back_up(destination, tmp_path / "backup")
        source.stop()
        destination.start()
        drop_twins(destination)
        destination.stop()
        restore(destination, tmp_path / "backup")
        source.start()
        drop_twins(source)
        destination.start()
        both.at_both("the conflicts show", lambda site: site.problems().get("conflict") == ["night", "same.dat"])
        both.wait_for("recovery is over", lambda: not in_quarantine(destination))
        both.wait_for("both agree", lambda: agree(both))
        for site in both.sites:
            assert standing(site.store) == {name: digest_of(data) for name, data in twins_of(site).items()}
        both.assert_whole()


@pytest.mark.fault(23)
def test_a_copy_made_while_the_daemon_ran_is_found_out_although_nobody_heard_of_the_rest(tmp_path: Path) -> None:
    with pair(tmp_path, changed=SOON) as both:
        source, destination = both.sites
        source.stop()  # and with it the bus
        back_up(destination, tmp_path / "backup")
        before = witnessed(destination)
        wanted = drop_some(destination, "late")
        both.wait_for("the store knows of them", lambda: witnessed(destination) >= before + len(wanted))
        destination.stop()
        restore(destination, tmp_path / "backup")
        source.start()
        destination.start()
        both.wait_for("it is found out", lambda: destination.logged("catalog_behind"))
        both.wait_for("recovery is over", lambda: not in_quarantine(destination))
        both.wait_for(
            "the other one was told", lambda: {file.name for file in source.client.files().files} == set(wanted)
        )
        both.wait_for("both agree", lambda: agree(both))
        both.assert_whole()


def witnessed(site: Site) -> int:
    """How many entries of its site the store tells of."""
    return machine.read_head((site.store / ".librarian" / "head").read_text()).seq


def drop_twins(site: Site) -> None:
    """A file and a book whose names each site gives to other bytes; wait until it has accepted them."""
    same, member = twins_of(site).values()
    site.drop_file("same.dat", same)
    site.drop_book("night", {"a": member})
    wait_for(
        "it accepted both", lambda: {file.name for file in site.client.files().files} == {"night", "same.dat"}, site
    )


def twins_of(site: Site) -> dict[str, bytes]:
    """What stands in its store then."""
    return {"same.dat": some_bytes(3000, (site.name, "file")), "night/a": some_bytes(3000, (site.name, "book"))}


def test_what_an_operator_decided_since_the_restore_counts(tmp_path: Path) -> None:
    """The old catalog did not know of a later withdrawal; what was decided after the restore wins against the tail."""
    with pair(tmp_path, changed=SOON, subscribe=False) as both:
        source, destination = both.sites
        destination.lbctl("subscription", "add", "--from", "summit", "--match", "a/**")
        both.wait_for("it counts", destination.client.subscriptions)  # once its admission came
        (kept,) = destination.client.subscriptions()
        destination.stop()
        back_up(destination, tmp_path / "backup")
        destination.start()
        destination.lbctl("subscription", "rm", kept.id)
        both.wait_for("it is known", lambda: source.client.subscriptions() == [])
        destination.stop()
        restore(destination, tmp_path / "backup")
        # Decided before anything comes back: as if cut off.
        source.stop()
        destination.start()
        destination.lbctl("subscription", "add", "--from", "summit", "--match", "b/**")
        source.start()
        both.wait_for("it is over", lambda: not in_quarantine(destination), deadline_s=60)
        for site in both.sites:
            both.wait_for(
                f"{site.name} knows what counts",
                partial(matches, site, {"b/**"}),
            )


@pytest.mark.fault(22)
def test_a_lost_catalog_is_made_up_from_what_others_hold_and_what_stands_on_disk(tmp_path: Path) -> None:
    with pair(tmp_path, changed=SOON) as both:
        source, destination = both.sites
        source.lbctl("subscription", "add", "--from", "archive")
        wanted = drop_some(source, "of-summit") | drop_some(destination, "of-archive")
        book = {"a": b"1", "b/c": b"22"}
        source.drop_book("night", book)
        both.wait_for("all are everywhere", lambda: all(len(standing(site.store)) == 12 for site in both.sites))
        both.wait_for("all is sent", lambda: destination.client.status().journal.outbox == 0)
        said = numbers_of(source, "archive")
        destination.stop()
        for path in catalog_files(destination):
            path.unlink()

        destination.start()
        token = source.lbctl("site", "invite").strip()
        destination.lbctl("site", "join", token)
        both.wait_for("it is over by itself", lambda: not in_quarantine(destination), deadline_s=60)
        both.wait_for("both agree", lambda: agree(both), deadline_s=60)
        assert standing(destination.store).items() >= wanted.items()
        assert set(said) <= set(numbers_of(destination, "archive"))
        assert destination.client.status().counts.instances_here == 11
        both.assert_whole()


def test_two_sites_with_a_third_that_stays_away_wait_for_it(tmp_path: Path) -> None:
    """It might hold entries that nobody else has: nothing is vouched for until it was heard, or revoked."""
    with pair(tmp_path, changed=SOON) as both:
        source, destination = both.sites
        third = Site(tmp_path / "third", "third", changed=SOON)
        with sites(third):
            join(source, third)
            wait_for("archive knows it", lambda: len(destination.client.sites()) == 3, destination)
            third.stop()
            destination.stop()
            back_up(destination, tmp_path / "backup")
            destination.start()
            drop_some(destination, "late")
            both.wait_for("they are known", lambda: len(source.told("file.ingested", "archive")) == 5)
            destination.stop()
            restore(destination, tmp_path / "backup")
            destination.start()
            both.wait_for(
                "it waits for the third",
                lambda: [
                    problem
                    for problem in destination.client.status().problems
                    if problem.code == "catalog-behind"
                    and "Waiting: third has not told what it holds" in problem.message
                ],
                deadline_s=60,
            )
            assert in_quarantine(destination)
            source.lbctl("site", "revoke", "third", "--reason", "its disk was sold")
            both.wait_for("it is over", lambda: not in_quarantine(destination), deadline_s=60)
