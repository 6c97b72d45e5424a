"""Disks that are full, out of inodes, read-only or broken, below each of the places that a daemon writes to.

Real filesystems: small tmpfs, ext4 on a loop device whose end is missing. Intake pauses with a reason that an operator
can act on, goes on by itself when the cause is gone, and nothing that was dropped is lost.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from tests.support.mounts import breakable, remount, tmpfs
from tests.support.oracle import digest_of, some_bytes, standing
from tests.support.processes import failing
from tests.support.sites import SQLITE, Site, free_port, pair, sites, wait_for

#: Large enough for what a place needs by itself.
SMALL = "size=24m,nr_inodes=2000"


@contextmanager
def site_on(tmp_path: Path, place: str, options: str = SMALL) -> Generator[tuple[Site, Path]]:
    """A site of which one place stands on a small filesystem, and that place."""
    root = tmp_path / "summit"
    small = {"drop": root / "drop", "store": root / "store", "bus": root / "nats", "catalog": tmp_path / "catalog"}[
        place
    ]
    small.mkdir(parents=True)
    with tmpfs(small, options):
        catalog = f"sqlite:///{small}/catalog.sqlite" if place == "catalog" else SQLITE
        site = Site(root, "summit", bus=f"embedded:{free_port()}", catalog=catalog, changed=WALKS)
        with sites(site):
            yield site, small


WALKS = {"# walk_every_s = 60.0": "walk_every_s = 1.0"}


def fill(place: Path) -> Callable[[], None]:
    """Use up every byte; what frees them again."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            pass
    return ballast.unlink


def use_up_inodes(place: Path) -> Callable[[], None]:
    """Make files until no more can be made."""
    made: list[Path] = []
    directory = place / "ballast"
    directory.mkdir()
    try:
        while True:
            path = directory / str(len(made))
            path.touch()
            made.append(path)
    except OSError:
        pass

    def free() -> None:
        for path in made:
            path.unlink()
        directory.rmdir()

    return free


def paused(site: Site, *words: str) -> bool:
    """Whether status says that intake is paused, in these words, with something to do."""
    return any(
        problem.code == "intake-paused" and problem.hint and all(word in problem.message for word in words)
        for problem in site.client.status().problems
    )


def drop_some(site: Site, prefix: str, number: int = 5, size: int = 200_000) -> dict[str, str]:
    data = {f"{prefix}-{n}.dat": some_bytes(size, (prefix, n)) for n in range(number)}
    for name, content in data.items():
        site.drop_file(name, content)
    return {name: digest_of(content) for name, content in data.items()}


def taken_in(site: Site, number: int) -> bool:
    return site.client.status().counts.files == number


def arrived(site: Site, wanted: dict[str, str]) -> bool:
    """All of it is accepted, and nothing complains."""
    return site.client.status().counts.files == len(wanted) and site.client.status().healthy


@pytest.mark.fault(7)
def test_row_07_a_store_that_is_full_pauses_intake_and_it_goes_on_by_itself(tmp_path: Path) -> None:
    with site_on(tmp_path, "store") as (site, small):
        site.start()
        wanted = drop_some(site, "before")
        wait_for("there is room", lambda: arrived(site, wanted), site)
        free = fill(small)
        wanted |= drop_some(site, "during")
        wait_for("it says why", lambda: paused(site, "full"), site)
        assert site.client.status().counts.files == 5
        free()
        wait_for("it goes on by itself", lambda: arrived(site, wanted), site)
        assert standing(site.store) == wanted
        assert site.left_in_staging() == []
        site.lbctl("events", "audit")


@pytest.mark.fault(7)
def test_row_07_a_full_catalog_disk_accepts_nothing_and_loses_nothing(tmp_path: Path) -> None:
    with site_on(tmp_path, "catalog") as (site, small):
        site.start()
        wanted = drop_some(site, "before")
        wait_for("there is room", lambda: arrived(site, wanted), site)
        free = fill(small)
        wanted |= drop_some(site, "during", size=2000)
        wait_for("it says why", lambda: paused(site, "catalog") or site.problems().get("service-failed"), site)
        assert site.client.status().counts.files == 5
        free()
        wait_for("it goes on by itself", lambda: site.client.status().counts.files == 10, site)
        wait_for("nothing complains", lambda: arrived(site, wanted), site)
        assert standing(site.store) == wanted
        site.lbctl("events", "audit")


@pytest.mark.fault(7)
def test_row_07_a_full_bus_disk_holds_up_nothing_but_the_news(tmp_path: Path) -> None:
    with site_on(tmp_path, "bus") as (site, small):
        site.start()
        wanted = drop_some(site, "before")
        wait_for("there is room", lambda: arrived(site, wanted), site)
        wait_for("all is sent", lambda: site.client.status().journal.outbox == 0, site)
        free = fill(small)
        wanted |= drop_some(site, "during", number=40, size=2000)
        wait_for("intake goes on", lambda: site.client.status().counts.files == 45, site)
        wait_for("the outbox waits, and it is said", lambda: "disk" in bus_problem(site), site)
        free()
        wait_for("the news go out by themselves", lambda: site.client.status().journal.outbox == 0, site, deadline_s=90)
        wait_for("nothing complains", lambda: arrived(site, wanted), site)
        assert standing(site.store) == wanted
        site.lbctl("events", "audit")


def bus_problem(site: Site) -> str:
    return " ".join(problem.message for problem in site.client.status().problems if problem.code == "bus-unavailable")


@pytest.mark.fault(7)
def test_row_07_a_full_drop_disk_is_emptied(tmp_path: Path) -> None:
    """The writer's own disk is full: what is whole is taken in, and that makes room."""
    with site_on(tmp_path, "drop") as (site, small):
        site.start()
        wait_for("it watches", lambda: site.client.status().healthy, site)
        free = fill(small)
        free()
        wanted: dict[str, str] = {}
        for number in range(60):  # 60 x 1 MiB through 24 MiB
            data = some_bytes(1 << 20, number)
            while True:
                try:
                    (small / ".making").write_bytes(data)
                    break
                except OSError:
                    wait_for("there is room again", lambda: free_bytes(small) > 2 << 20, site)
            os.rename(small / ".making", small / f"f{number}.dat")
            wanted[f"f{number}.dat"] = digest_of(data)
        wait_for("all are taken in", lambda: arrived(site, wanted), site)
        assert standing(site.store) == wanted


def free_bytes(path: Path) -> int:
    state = os.statvfs(path)
    return state.f_bavail * state.f_frsize


@pytest.mark.fault(8)
@pytest.mark.parametrize("place", ["store", "catalog", "bus"])
def test_row_08_no_inodes_are_told_from_no_space(tmp_path: Path, place: str) -> None:
    with site_on(tmp_path, place, "size=200m,nr_inodes=200") as (site, small):
        site.start()
        wanted = drop_some(site, "before", size=100)
        wait_for("there are inodes", lambda: arrived(site, wanted), site)
        free = use_up_inodes(small)
        wanted |= drop_some(site, "during", size=100)
        if place == "store":
            wait_for("it says why", lambda: paused(site, "inodes"), site)
            assert not paused(site, "full")
            assert site.client.status().counts.files == 5
        free()
        wait_for("it goes on by itself", lambda: arrived(site, wanted), site)
        assert standing(site.store) == wanted
        site.lbctl("events", "audit")


@pytest.mark.fault(7, 8)
def test_row_07_a_full_destination_waits_and_fetches_when_there_is_room(tmp_path: Path) -> None:
    """Staging at the destination: transfers wait with a reason, and arrive by themselves."""
    (tmp_path / "archive/store").mkdir(parents=True)
    with tmpfs(tmp_path / "archive/store", "size=24m"), pair(tmp_path) as both:
        source, destination = both.sites
        wanted = drop_some(source, "before")
        both.wait_for("there is room", lambda: standing(destination.store) == wanted)
        free = fill(destination.store)
        wanted |= drop_some(source, "during")
        both.wait_for(
            "transfers say why they wait",
            lambda: any(transfer.reason == "store-full" and transfer.hint for transfer in destination.transfers()),
        )
        free()
        for transfer in destination.transfers():
            destination.try_now(transfer.id)
        both.wait_for("they arrive", lambda: standing(destination.store) == wanted)
        both.assert_whole()


@pytest.mark.fault(9)
def test_row_09_bytes_that_cannot_be_read_are_suspected_and_not_served(tmp_path: Path) -> None:
    """EIO of a real block device: its end is missing."""
    (tmp_path / "summit/store").mkdir(parents=True)
    with (
        breakable(tmp_path / "image", tmp_path / "summit/store", size_bytes=64 << 20) as disk,
        pair(tmp_path, subscribe=False) as both,
    ):
        source, destination = both.sites
        wanted = {"good.dat": some_bytes(300_000, 1), "bad.dat": some_bytes(5 << 20, 2)}
        for number, (name, data) in enumerate(wanted.items(), 1):  # the bad one lies behind on the disk
            source.drop_file(name, data)
            both.wait_for("it is taken in", partial(taken_in, source, number))
        source.stop()
        disk.break_at(source.store / "bad.dat", 1 << 20)
        source.start()
        destination.lbctl("subscription", "add", "--from", "summit")
        both.wait_for("the good one arrives", lambda: "good.dat" in standing(destination.store))
        both.wait_for("the other is suspected", lambda: source.problems().get("instance-suspected") == ["bad.dat"])
        (problem,) = [known for known in source.client.status().problems if known.code == "instance-suspected"]
        assert "Input/output error" in problem.message
        assert problem.hint
        assert standing(destination.store) == {"good.dat": digest_of(wanted["good.dat"])}
        disk.mend()
        source.client.verify("bad.dat")
        both.wait_for("it is healed, and arrives", lambda: len(standing(destination.store)) == 2)
        both.wait_for("nothing complains", lambda: source.client.status().healthy)


@pytest.mark.fault(9)
def test_row_09_a_drop_that_cannot_be_read_is_set_aside_whole_and_holds_up_no_other(tmp_path: Path) -> None:
    site = Site(tmp_path / "summit", "summit", bus=f"embedded:{free_port()}", changed=WALKS)
    data = some_bytes(5 << 20, 1)
    with breakable(tmp_path / "image", site.drop, size_bytes=64 << 20) as disk, sites(site):
        hidden = site.drop / ".hidden"
        hidden.mkdir()
        (hidden / "before").write_bytes(bytes(20 << 20))
        os.sync()
        (site.drop / "bad.dat").write_bytes(data)
        fill(hidden)
        disk.break_at(site.drop / "bad.dat", 1 << 20)
        (hidden / "before").unlink()  # all that is free now is sound
        (site.drop / "good.dat").write_bytes(b"good")
        site.start()
        wait_for("the other is accepted", partial(taken_in, site, 1), site)
        wait_for("it says why", lambda: site.problems().get("intake-refused"), site)
        (aside,) = site.drop.glob(".rejected/*/bad.dat")
        assert "I/O error" in (aside.parent / "REASON.txt").read_text()
        disk.mend()
        aside.rename(site.drop / "bad.dat")
        wait_for("it is accepted as well", partial(taken_in, site, 2), site)
        assert standing(site.store) == {"good.dat": digest_of(b"good"), "bad.dat": digest_of(data)}


@pytest.mark.fault(10)
def test_row_10_a_failed_fsync_accepts_nothing_and_is_not_tried_again_on_the_same_bytes(tmp_path: Path) -> None:
    """By strace, attached for a while: whatever thread asks, its first two fsyncs fail with EIO."""
    site = Site(tmp_path / "summit", "summit", bus=f"embedded:{free_port()}", changed=WALKS)
    with sites(site):
        site.start()
        wanted = drop_some(site, "before")
        wait_for("they are accepted", lambda: arrived(site, wanted), site)
        trace = tmp_path / "trace"
        with failing(site, "fsync,fdatasync,syncfs:error=EIO:when=1..2", trace):
            wanted |= drop_some(site, "during")
            wait_for("it says why", lambda: paused(site, "Input/output error"), site)
        wait_for("they are accepted in the end", partial(taken_in, site, 10), site, deadline_s=100)
        assert trace.read_text().count("EIO (Input/output error) (INJECTED)") >= 2
        wait_for("nothing complains", lambda: arrived(site, wanted), site)
        assert standing(site.store) == wanted
        site.stop()
        site.start()
        wait_for("nothing is missing", lambda: arrived(site, wanted), site)
        site.lbctl("events", "audit")


@pytest.mark.fault(11)
def test_row_11_a_store_that_turns_read_only_is_served_from_and_takes_nothing(tmp_path: Path) -> None:
    (tmp_path / "summit/store").mkdir(parents=True)
    with tmpfs(tmp_path / "summit/store", "size=64m") as small, pair(tmp_path, subscribe=False, changed=WALKS) as both:
        source, destination = both.sites
        wanted = drop_some(source, "before")
        both.wait_for("they are accepted", lambda: source.client.status().counts.files == 5)
        remount(small, "ro")
        wanted_later = drop_some(source, "during")
        both.wait_for("intake says why", lambda: paused(source, "Read-only"))
        destination.lbctl("subscription", "add", "--from", "summit")
        both.wait_for("what is there is served", lambda: standing(destination.store) == wanted)
        assert source.client.status().counts.files == 5
        remount(small, "rw")
        both.wait_for("intake goes on", lambda: standing(destination.store) == wanted | wanted_later)
        both.assert_whole()
