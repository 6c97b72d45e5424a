"""Stores are held against the catalog: what is missing is found, what nobody knows is told, nothing is deleted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.support.oracle import digest_of, some_bytes, standing
from tests.support.sites import Site, free_port, pair, sites, wait_for

from librarian_protocol.errors import NotPossible


def alone(root: Path, **changed: str) -> Site:
    """A site of its own."""
    return Site(root / "summit", "summit", bus=f"embedded:{free_port()}", changed=changed)


def ingest(site: Site, number: int) -> dict[str, str]:
    """Drop files and wait until they are accepted; their digests."""
    before = site.client.status().counts.files
    data = {f"night/f{n:03}.dat": some_bytes(500 + n, n) for n in range(number)}
    for name, content in data.items():
        site.drop_file(name, content)
    wait_for("accepted", lambda: site.client.status().counts.files == before + number, site)
    return {name: digest_of(content) for name, content in data.items()}


@pytest.mark.fault(6)
def test_what_vanished_while_the_daemon_was_down_is_found_at_the_start_and_healed_when_it_is_back(
    tmp_path: Path,
) -> None:
    site = alone(tmp_path)
    with sites(site):
        site.start()
        ingest(site, 3)
        assert site.stop() == 0
        hidden = site.store / "night/f001.dat"
        hidden.rename(tmp_path / "elsewhere")
        (site.store / "night/f002.dat").chmod(0o644)
        os.truncate(site.store / "night/f002.dat", 10)
        site.start()
        wait_for(
            "both are suspected",
            lambda: sorted(site.problems().get("instance-suspected", [])) == ["night/f001.dat", "night/f002.dat"],
            site,
        )
        (tmp_path / "elsewhere").rename(hidden)
        (report,) = site.client.reconcile()
        assert report.error == ""
        wait_for(
            "the one that is back is good",
            lambda: site.problems().get("instance-suspected") == ["night/f002.dat"],
            site,
        )
        site.lbctl("events", "audit")


@pytest.mark.fault(24)
def test_what_is_lost_in_a_store_is_still_at_the_other_site(tmp_path: Path) -> None:
    """Row 24 of the fault matrix: a store restored from an old snapshot never makes anybody delete anything."""
    with pair(tmp_path) as both:
        source, destination = both.sites
        wanted = ingest(source, 4)
        both.wait_for("all are everywhere", lambda: standing(destination.store) == wanted)
        both.wait_for("all is said", lambda: destination.client.status().journal.outbox == 0)
        destination.stop()
        for name in ("night/f000.dat", "night/f003.dat"):
            (destination.store / name).unlink()
        destination.start()
        # The incidents may be over in the same moment: what is lost is fetched again.
        both.wait_for(
            "they are missed, and the other site knows", lambda: source.told("instance.suspected").total() == 2
        )
        both.wait_for("they are fetched again", lambda: standing(destination.store) == wanted)
        assert standing(source.store) == wanted


@pytest.mark.parametrize("instead", ["a directory", "a link", "a pipe"])
def test_something_else_in_an_instances_place_is_found_and_holds_nothing_up(tmp_path: Path, instead: str) -> None:
    site = alone(tmp_path)
    with sites(site):
        site.start()
        ingest(site, 3)
        place = site.store / "night/f001.dat"
        place.rename(tmp_path / "elsewhere")
        match instead:
            case "a directory":
                place.mkdir()
            case "a link":
                place.symlink_to(tmp_path / "elsewhere")
            case _:
                os.mkfifo(place)
        (report,) = site.client.reconcile()
        assert (report.error, report.wrong) == ("", 1)
        assert site.problems()["instance-suspected"] == ["night/f001.dat"]
        if instead == "a directory":
            place.rmdir()
        else:
            place.unlink()
        (tmp_path / "elsewhere").rename(place)
        site.client.reconcile()
        wait_for("all is well", lambda: site.client.status().healthy, site)


def test_files_that_nobody_knows_are_reported_and_left_alone(tmp_path: Path) -> None:
    site = alone(tmp_path)
    with sites(site):
        site.start()
        ingest(site, 2)
        for name in ("night/stranger.dat", "\x01odd"):
            (site.store / name).write_bytes(b"who wrote this?")
        (report,) = site.client.reconcile()
        assert (report.unknown, report.wrong) == (2, 0)
        assert site.problems()["unknown-files"] == [report.label]
        run = site.lbctl("reconcile")
        assert "night/stranger.dat" in run
        assert (site.store / "night/stranger.dat").read_bytes() == b"who wrote this?"
        for name in ("night/stranger.dat", "\x01odd"):
            (site.store / name).unlink()
        site.client.reconcile()
        assert "unknown-files" not in site.problems()

        # A Mac, or anybody, leaves something in a stored book: the book is right, and stays so.
        site.drop_book("book", {"a": b"1", "b/c": b"2"})
        wait_for("it is accepted", lambda: site.client.status().counts.files == 3, site)
        left = [site.store / "book" / name for name in (".DS_Store", "b/._c", "link")]
        for path in left[:2]:
            path.write_bytes(b"?")
        left[2].symlink_to("a")
        assert "every byte is right" in site.lbctl("file", "verify", "book")
        assert site.problems()["unknown-files"] == ["main: book"]
        (report,) = site.client.reconcile()
        assert (report.wrong, report.unknown) == (0, 3)
        assert "book/.DS_Store" in report.unknown_examples
        assert site.problems() == {"unknown-files": [report.label]}, "one cause, one incident"
        assert site.verified_at("book") == ["summit"]
        assert not site.entries("instance.suspected")
        for path in left:
            assert path.lstat()
            path.unlink()
        site.client.reconcile()
        assert site.is_healthy()


@pytest.mark.fault(14)
def test_many_anomalies_at_once_stop_what_the_daemon_does_by_itself(tmp_path: Path) -> None:
    """Row 14: a controller that shows nothing any more must not make the catalog say that all is lost."""
    site = alone(tmp_path, **{"# limit = 50": "limit = 5"})
    with sites(site):
        site.start()
        ingest(site, 12)
        hidden = tmp_path / "night"
        (site.store / "night").rename(hidden)
        (site.store / "night").mkdir()
        (report,) = site.client.reconcile()
        assert (report.wrong, report.acted) == (12, False)
        (problem,) = [known for known in site.client.status().problems if known.code == "many-anomalies"]
        assert "12 instances" in problem.message
        assert "lbctl reconcile --all" in problem.hint
        assert site.told("instance.suspected").total() == 0, "nothing was said"
        (site.store / "night").rmdir()
        hidden.rename(site.store / "night")
        site.client.reconcile()
        assert "many-anomalies" not in site.problems()

        (site.store / "night").rename(hidden)
        site.client.reconcile()
        (report,) = site.client.reconcile(all_of_it=True)
        assert report.acted
        assert site.told("instance.suspected").total() == 12
        hidden.rename(site.store / "night")


def test_what_is_staged_for_no_transfer_is_removed_and_nothing_else(tmp_path: Path) -> None:
    site = alone(tmp_path)
    with sites(site):
        site.start()
        ingest(site, 1)
        staging = site.store / ".librarian/staging"
        (staging / "t999999").write_bytes(b"left behind")
        (staging / "0123456789abcdef").write_bytes(b"an intake may be writing this")
        (report,) = site.client.reconcile()
        assert report.removed == 1
        assert [path.name for path in staging.iterdir()] == ["0123456789abcdef"]


def test_a_store_that_is_not_mounted_proves_nothing(tmp_path: Path) -> None:
    site = alone(tmp_path)
    with sites(site):
        site.start()
        ingest(site, 2)
        hidden = site.store.with_name("elsewhere")
        site.store.rename(hidden)
        (report,) = site.client.reconcile()
        assert "not mounted" in report.error
        assert (report.wrong, site.told("instance.suspected").total()) == (0, 0)
        hidden.rename(site.store)
        (report,) = site.client.reconcile()
        assert (report.error, report.wrong) == ("", 0)


# ---- a lost catalog --------------------------------------------------------------------------------------


BOOK = {"a.dat": b"1", "deep/b.dat": b"22", "deep/c/d.dat": b"", "empty": None}


def lose_catalog(site: Site) -> None:
    for path in site.root.glob("catalog.sqlite*"):
        path.unlink()


@pytest.mark.fault(22)
def test_a_site_that_is_alone_makes_its_catalog_from_its_store(tmp_path: Path) -> None:
    """Row 22: files by reading them, books by the manifests that the store keeps."""
    site = alone(tmp_path)
    with sites(site):
        site.start()
        wanted = ingest(site, 5)
        site.drop_book("book_1", BOOK)
        site.drop_book("book_2", {"only": b"x"})
        wait_for("all are accepted", lambda: site.client.status().counts.files == 7, site)
        said = {(file.name, file.digest, file.unit) for file in site.client.files().files}
        assert site.lbctl("recover").strip() == "the catalog is whole: nothing to recover"
        assert site.stop() == 0
        lose_catalog(site)
        site.start()
        recovery = site.client.recovery()
        assert recovery.without_mesh
        assert "lbctl recover --alone" in site.lbctl("recover", exit_code=1)
        site.lbctl("recover", "--alone", "--yes")
        assert {(file.name, file.digest, file.unit) for file in site.client.files().files} == said
        assert standing(site.store).items() >= wanted.items()
        wait_for("all is well", lambda: site.client.status().healthy, site)
        site.drop_file("later.dat", b"later")
        wait_for("it goes on", lambda: site.client.status().counts.files == 8, site)
        site.lbctl("events", "audit")


def test_a_site_that_knows_its_mesh_is_not_alone(tmp_path: Path) -> None:
    site = alone(tmp_path)
    with sites(site):
        site.start()
        assert "nothing to recover" in site.lbctl("recover", "--alone", "--yes", exit_code=NotPossible.exit_code)


def test_books_that_nobody_heard_of_are_found_by_their_manifests_after_a_loss(tmp_path: Path) -> None:
    """Ingested while the bus was away, then the catalog is lost: no journal anywhere tells of them."""
    with pair(tmp_path, changed={"# heads_every_s = 30.0": "heads_every_s = 1.0"}) as both:
        source, destination = both.sites
        source.stop()
        destination.drop_book("unheard", BOOK)
        both_known = destination.client
        wait_for("it is accepted", lambda: both_known.status().counts.files == 1, destination)
        destination.kill()
        lose_catalog(destination)
        source.start()
        destination.start()
        token = source.lbctl("site", "invite").strip()
        destination.lbctl("site", "join", token)
        both.wait_for("it is over", lambda: destination.client.recovery().since is None)
        (file,) = destination.client.files().files
        assert (file.name, file.unit) == ("unheard", "book")
        both.wait_for("the other site hears of it", lambda: source.told("file.ingested", "archive")["unheard"] == 1)


@pytest.mark.parametrize(("change", "unit"), [("other bytes", "file"), ("one more", "book"), ("one less", "file")])
def test_a_directory_that_is_not_what_a_manifest_lists_is_no_book(tmp_path: Path, change: str, unit: str) -> None:
    """Then its files are single ones, each what it is. Something more beside its members does not harm a book."""
    site = alone(tmp_path)
    with sites(site):
        site.start()
        site.drop_book("book_1", BOOK)
        wait_for("it is accepted", lambda: site.client.status().counts.files == 1, site)
        assert site.stop() == 0
        lose_catalog(site)
        member = site.store / "book_1/a.dat"
        member.chmod(0o644)
        match change:
            case "other bytes":
                member.write_bytes(b"2")
            case "one more":
                (site.store / "book_1/deep/more").write_bytes(b"")
            case _:
                (site.store / "book_1/deep/b.dat").unlink()
        site.start()
        site.lbctl("recover", "--alone", "--yes")
        assert {file.unit for file in site.client.files().files} == {unit}
