"""Which of several stores takes a transfer, with real daemons and real small filesystems.

Transfers go around what is full, away, read-only or hangs, say so as long as it lasts, and come back by themselves.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.integration.faults.test_disks import fill
from tests.support.mounts import fuse, remount, tmpfs
from tests.support.oracle import digest_of, some_bytes, standing
from tests.support.sites import Pair, Site, free_port, pair, sites, wait_for

MIB = 1 << 20


@contextmanager
def stores(tmp_path: Path, sizes: Sequence[tuple[str, str, int]]) -> Generator[tuple[Pair, dict[str, Path]]]:
    """A destination with these stores besides ``main``, which takes nothing: label, size of a tmpfs, priority.

    Its only subscription names them.
    """
    places: dict[str, Path] = {}
    with ExitStack() as mounted, pair(tmp_path, subscribe=False) as both:
        archive = both.destination
        for label, size, priority in sizes:
            places[label] = mounted.enter_context(tmpfs(tmp_path / label, f"size={size}"))
            archive.lbctl("store", "add", str(places[label]), "--label", label, "--role", "archive")
            archive.lbctl("store", "set", label, "--priority", str(priority), "--reason", "a test")
        into = [option for label, _, _ in sizes for option in ("--into", label)]
        archive.lbctl("subscription", "add", "--from", "summit", *into)
        yield both, places


def bring(both: Pair, name: str, size: int) -> dict[str, str]:
    """Drop a file at the source."""
    data = some_bytes(size, name)
    both.source.drop_file(name, data)
    return {name: digest_of(data)}


def told(both: Pair) -> list[str]:
    """Which stores are said to be passed by."""
    return sorted(both.destination.problems().get("store-failover", []))


def test_transfers_go_around_stores_that_are_full_or_read_only_and_come_back_by_themselves(tmp_path: Path) -> None:
    """The first store turns read-only, then the second is full: the third takes what comes, and says why."""
    with stores(tmp_path, [("first", "64m", 1), ("second", "64m", 2), ("third", "64m", 3)]) as (both, places):
        wanted = bring(both, "well.dat", MIB)
        both.wait_for("the most preferred takes it", lambda: standing(places["first"]) == wanted)
        assert told(both) == []
        remount(places["first"], "ro")
        around = bring(both, "around.dat", MIB)
        both.wait_for("the next one takes it", lambda: standing(places["second"]) == around)
        both.wait_for("it is told", lambda: told(both) == ["first"])
        free = fill(places["second"])
        last = bring(both, "last.dat", MIB)
        both.wait_for("the last one takes it", lambda: standing(places["third"]) == last)
        both.wait_for("both are told", lambda: told(both) == ["first", "second"])
        (second,) = [
            problem
            for problem in both.destination.client.status().problems
            if (problem.code, problem.subject) == ("store-failover", "second")
        ]
        assert "instead of 'second'" in second.message
        free()
        remount(places["first"], "rw")
        both.wait_for("nothing is passed by any more", lambda: told(both) == [])
        again = bring(both, "again.dat", MIB)
        both.wait_for("it is used again", lambda: standing(places["first"]) == wanted | again)
        assert standing(places["second"]).keys() - {"ballast"} == around.keys()
        both.assert_whole()


def test_intake_goes_around_a_store_that_cannot_be_written_and_comes_back(tmp_path: Path) -> None:
    """Of a site with two stores, on filesystems of their own; what is dropped must be copied."""
    second = tmp_path / "second"
    main = tmp_path / "summit/store"
    main.mkdir(parents=True)
    with tmpfs(main, "size=64m"), tmpfs(second, "size=64m"):
        summit = Site(
            tmp_path / "summit",
            "summit",
            bus=f"embedded:{free_port()}",
            changed={"# others = []": 'others = ["second"]', "# priority = 100": "priority = 1"},
        )
        summit.config.write_text(f'{summit.config.read_text()}\n[[store]]\nlabel = "second"\npath = "{second}"\n')
        with sites(summit):
            summit.start()
            summit.drop_file("one.dat", b"1")
            wait_for("the preferred store takes it", (main / "one.dat").exists, summit)
            remount(main, "ro")
            summit.drop_file("two.dat", b"2")
            wait_for("the other one takes it", (second / "two.dat").exists, summit)
            wait_for("it is told", lambda: summit.problems().get("store-failover") == ["main"], summit)
            remount(main, "rw")
            wait_for("that is over", lambda: "store-failover" not in summit.problems(), summit)
            summit.drop_file("three.dat", b"3")
            wait_for("the preferred store is used again", (main / "three.dat").exists, summit)
            wait_for("all is well", summit.is_healthy, summit)
            assert standing(second) == {"two.dat": digest_of(b"2")}
            summit.lbctl("events", "audit")


def test_what_waits_for_room_goes_on_as_soon_as_there_is_room(tmp_path: Path) -> None:
    with stores(tmp_path, [("only", "64m", 1)]) as (both, places):
        free = fill(places["only"])
        wanted = bring(both, "file.dat", MIB)
        both.wait_for("it says why", lambda: [seen.reason for seen in both.destination.transfers()] == ["store-full"])
        free()
        both.wait_for("it goes on", lambda: standing(places["only"]) == wanted)


def test_two_that_fit_alone_and_not_together_do_not_both_begin(tmp_path: Path) -> None:
    """The reserve stays free, whatever is wanted at once."""
    with stores(tmp_path, [("only", "64m", 1)]) as (both, places):
        both.destination.lbctl("store", "set", "only", "--reserve", "10MiB", "--reason", "a test")
        both.destination.lbctl("pause", "transfers", "--for", "1h", "--reason", "a test")
        for name in ("one.dat", "two.dat"):
            bring(both, name, 30 * MIB)
        both.wait_for("both are wanted", lambda: len(both.destination.transfers()) == 2)
        both.destination.lbctl("resume", "transfers")
        both.wait_for("one is there", lambda: len(standing(places["only"])) == 1)
        both.wait_for(
            "the other waits",
            lambda: sorted(seen.reason or "" for seen in both.destination.transfers()) == ["", "store-full"],
        )
        assert len(list((places["only"] / ".librarian/staging").iterdir())) == 0
        both.destination.lbctl("store", "set", "only", "--reserve", "0%", "--reason", "a test")
        both.wait_for("now it fits", lambda: len(standing(places["only"])) == 2)


def test_a_full_store_is_set_inactive_where_that_is_asked_for_and_catches_up_when_it_is_active(tmp_path: Path) -> None:
    with stores(tmp_path, [("first", "64m", 1)]) as (both, places):
        archive = both.destination
        archive.lbctl("subscription", "rm", archive.client.subscriptions()[0].id)
        archive.lbctl("subscription", "add", "--from", "summit", "--into", "first", "--on-full", "deactivate")
        assert [found.on_full for found in archive.client.subscriptions()] == ["deactivate"]
        free = fill(places["first"])
        wanted = bring(both, "one.dat", MIB)
        both.wait_for("it is told", lambda: archive.problems().get("store-closed-full") == ["first"])
        assert "full: it had room for" in archive.client.show_store("first").reason
        free()
        wanted |= bring(both, "two.dat", MIB)
        both.wait_for("the other is heard of", lambda: "two.dat" in archive.told("file.ingested", "summit"))
        assert standing(places["first"]) == {}
        archive.lbctl("store", "set", "first", "--active", "--reason", "there is room again")
        both.wait_for("what was missed is brought", lambda: standing(places["first"]) == wanted)
        both.wait_for("that is over", archive.is_healthy)


def test_a_file_larger_than_any_store_is_parked_until_there_is_a_larger_one(tmp_path: Path) -> None:
    with stores(tmp_path, [("small", "16m", 1)]) as (both, places):
        wanted = bring(both, "large.dat", 20 * MIB)
        both.wait_for("it is parked", lambda: [seen.reason for seen in both.destination.transfers()] == ["too-large"])
        (parked,) = both.destination.transfers()
        assert "lbctl store add" in parked.hint
        remount(places["small"], "size=64m")
        both.destination.lbctl("store", "set", "small", "--active", "--reason", "it was made larger")
        both.wait_for("it is brought", lambda: standing(places["small"]) == wanted)


def test_a_store_that_a_person_closed_is_passed_by_and_no_incident_tells_of_it(tmp_path: Path) -> None:
    with stores(tmp_path, [("first", "64m", 1), ("second", "64m", 2)]) as (both, places):
        archive = both.destination
        archive.lbctl("store", "set", "first", "--no-ingestable", "--reason", "a test")
        wanted = bring(both, "one.dat", MIB)
        both.wait_for("the other takes it", lambda: standing(places["second"]) == wanted)
        archive.lbctl("store", "set", "second", "--inactive", "--reason", "a test")
        later = bring(both, "two.dat", MIB)
        both.wait_for("it waits", lambda: "store-closed" in [seen.reason for seen in archive.transfers()])
        assert told(both) == []
        archive.lbctl("store", "unset", "first")
        both.wait_for("it goes on at once", lambda: standing(places["first"]) == later)


def test_of_three_stores_one_is_read_only_one_full_and_one_hangs_and_the_fourth_takes_all(tmp_path: Path) -> None:
    """Each is told with its reason; when they are well again, what comes goes where it should."""
    sizes = [("ro", "64m", 1), ("full", "64m", 2)]
    with fuse(tmp_path / "slow", tmp_path / "behind") as mount, stores(tmp_path, sizes) as (both, places):
        archive = both.destination
        for label, priority, place in (("slow", 0, tmp_path / "slow"), ("last", 9, tmp_path / "last")):
            archive.lbctl("store", "add", str(place), "--label", label, "--role", "archive")
            archive.lbctl("store", "set", label, "--priority", str(priority), "--reason", "a test")
        (before,) = archive.client.subscriptions()
        into = [option for label in ("slow", "ro", "full", "last") for option in ("--into", label)]
        archive.lbctl("subscription", "rm", before.id)
        archive.lbctl("subscription", "add", "--from", "summit", *into)
        remount(places["ro"], "ro")
        free = fill(places["full"])
        mount.hang()
        wanted: dict[str, str] = {}
        for number in range(3):
            wanted |= bring(both, f"{number}.dat", MIB)
        both.wait_for("the fourth takes all", lambda: standing(tmp_path / "last") == wanted)
        both.wait_for("each is told", lambda: told(both) == ["full", "ro", "slow"])
        problems = archive.problems()
        assert problems["store-not-answering"] == ["slow"]
        assert problems["store-read-only"] == ["ro"]
        assert problems["store-full"] == ["full"]
        shown = {store.label: store for store in archive.client.stores()}
        assert [shown[label].problem for label in ("slow", "ro", "full", "last")] == [
            "store-not-answering",
            "store-read-only",
            "store-full",
            "",
        ]
        mount.go_on()
        free()
        remount(places["ro"], "rw")
        both.wait_for("nothing is passed by any more", lambda: told(both) == [])
        again = bring(both, "again.dat", MIB)
        both.wait_for("the most preferred takes it", lambda: standing(tmp_path / "slow") == again)
        both.wait_for("all is well", archive.is_healthy)
        both.assert_whole()
