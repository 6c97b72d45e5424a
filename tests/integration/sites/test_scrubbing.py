"""What changed in a store is found by the next pass, mended from another site, told once, and over by itself."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from tests.support.sites import Pair, Site, pair


def flip(path: Path, at: int = 0) -> None:
    """One bit of a stored file is another one now, and nothing else of it."""
    state = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 1]))
    path.chmod(0o444)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def holders(site: Site, name: str) -> list[str]:
    """Sites with a good instance, as a site lists them."""
    return [holder for file in site.client.files().files if file.name == name for holder in file.sites]


def is_at_both(name: str, site: Site) -> bool:
    return holders(site, name) == ["archive", "summit"]


def stored_at_both(both: Pair, *names: str) -> None:
    for name in names:
        both.at_both(f"holds {name}", partial(is_at_both, name))


@contextmanager
def reading(path: Path) -> Generator[list[bytes]]:
    """Somebody reads the file again and again; what was read, without repetitions. An error fails the test."""
    seen: list[bytes] = []
    errors: list[OSError] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            try:
                data = path.read_bytes()
            except OSError as exc:
                errors.append(exc)
                return
            if not seen or data != seen[-1]:
                seen.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield seen
    finally:
        over.set()
        reader.join()
    assert errors == []


def times_told(site: Site, code: str) -> list[int]:
    """How often incidents of a code were told of, open and over."""
    return [incident.count for incident in site.client.incidents(code=code).incidents]


def kept_bad(site: Site) -> list[Path]:
    return sorted((site.store / ".librarian" / "bad").iterdir())


@pytest.mark.fault(19)
@pytest.mark.fault(12)
def test_a_flipped_byte_is_found_by_the_next_pass_mended_told_once_and_over_by_itself(tmp_path: Path) -> None:
    data, members = os.urandom(3 << 20), {f"m{number}": os.urandom(200_000) for number in range(6)}
    with pair(tmp_path) as both:
        summit, archive = both.sites
        summit.drop_file("a.dat", data)
        summit.drop_book("book", members)
        stored_at_both(both, "a.dat", "book")

        summit.lbctl("scrub", "run")
        (before,) = summit.client.scrubs()
        assert (before.files, before.bad, before.covered, before.miss_s) == (2, 0, 1.0, 0.0)

        flip(archive.store / "a.dat", 2 << 20)
        flip(archive.store / "book" / "m3", 5)
        spoilt = (archive.store / "a.dat").read_bytes()
        good_inode = (archive.store / "book" / "m1").stat().st_ino
        received = archive.client.status().stores[0]
        with reading(archive.store / "a.dat") as seen:
            archive.lbctl("scrub", "run", exit_code=6)
            both.wait_for("it reads good bytes", lambda: data in seen)
        # Whoever reads by the name meanwhile gets the bad bytes, then the good ones: the name is never free.
        assert seen in ([spoilt, data], [data])
        both.wait_for(
            "both are mended", lambda: sorted(archive.told("instance.healed", "archive")) == ["a.dat", "book"]
        )
        stored_at_both(both, "a.dat", "book")
        assert (archive.store / "a.dat").read_bytes() == data
        assert {path.name: path.read_bytes() for path in (archive.store / "book").iterdir()} == members
        assert received.instances == 2
        # Of the book only the bad member came: the others are the same files.
        assert (archive.store / "book" / "m1").stat().st_ino == good_inode
        assert archive.told("instance.suspected", "archive") == archive.told("instance.healed", "archive")
        assert archive.told("instance.healed", "archive") == {"a.dat": 1, "book": 1}
        both.wait_for("it is over", lambda: not archive.problems())
        assert times_told(archive, "instance-suspected") == [1, 1]
        assert len(kept_bad(archive)) == 2

        # The next pass finds them right: the bad bytes need be kept no longer.
        archive.lbctl("scrub", "run")
        assert kept_bad(archive) == []
        said = archive.entries("store.scrubbed", "archive")
        assert [entry["bad"] for entry in said][-2:] == [2, 0]
        both.assert_whole()


@pytest.mark.fault(14)
@pytest.mark.fault(13)
def test_a_bad_last_instance_is_kept_and_alarmed_and_dropped_bytes_take_its_place(tmp_path: Path) -> None:
    with pair(tmp_path, subscribe=False) as both:
        summit, _ = both.sites
        summit.drop_file("only.dat", b"nobody else has it")
        both.wait_for("it is stored", lambda: holders(summit, "only.dat") == ["summit"])
        flip(summit.store / "only.dat")
        spoilt = (summit.store / "only.dat").read_bytes()

        summit.lbctl("scrub", "run", exit_code=6)
        assert summit.problems()["last-instance-bad"] == ["only.dat"]
        assert "only.dat" in summit.lbctl("file", "list", "--bad")
        assert "drop good bytes" in summit.lbctl("file", "heal", "only.dat", exit_code=6)
        assert (summit.store / "only.dat").read_bytes() == spoilt
        assert kept_bad(summit) == []

        summit.drop_file("only.dat", b"nobody else has it")
        both.wait_for("it is mended", lambda: holders(summit, "only.dat") == ["summit"])
        assert (summit.store / "only.dat").read_bytes() == b"nobody else has it"
        assert [path.read_bytes() for path in kept_bad(summit)] == [spoilt]
        both.wait_for("the alarm is over", lambda: not summit.problems())
        assert times_told(summit, "last-instance-bad") == [1]
        assert summit.client.files(bad=True).files == []


def test_two_sites_with_a_bad_member_each_mend_one_another(tmp_path: Path) -> None:
    """No instance is good any more; what is good of one is still served, and nothing else of it."""
    members = {f"m{number}": os.urandom(100_000) for number in range(4)}
    with pair(tmp_path) as both:
        summit, archive = both.sites
        summit.drop_book("book", members)
        stored_at_both(both, "book")
        for site, member in ((summit, "m1"), (archive, "m2")):
            flip(site.store / "book" / member)
        # Neither may learn of the other's good instance first, or it would be mended from that one.
        archive.lbctl("pause", "transfers", "--for", "1h", "--reason", "a test")
        summit.lbctl("pause", "transfers", "--for", "1h", "--reason", "a test")
        for site in both.sites:
            site.lbctl("scrub", "run", exit_code=6)
        both.at_both("all instances are bad", lambda site: holders(site, "book") == [])
        both.at_both("is alarmed", lambda site: "last-instance-bad" in site.problems())
        for site in both.sites:
            site.lbctl("resume", "transfers")
        stored_at_both(both, "book")
        for site in both.sites:
            assert {path.name: path.read_bytes() for path in (site.store / "book").iterdir()} == members
        both.at_both("the alarm is over", lambda site: not site.problems())
        both.assert_whole()


@pytest.mark.fault(14)
@pytest.mark.fault(14)
def test_a_store_with_many_bad_instances_is_frozen_with_one_incident_until_it_is_thawed(tmp_path: Path) -> None:
    names = [f"f{number}.dat" for number in range(6)]
    with pair(tmp_path) as both:
        summit, archive = both.sites
        for name in names:
            summit.drop_file(name, name.encode())
        stored_at_both(both, *names)
        archive.lbctl("pause", "transfers", "--for", "1h", "--reason", "a test")
        for name in names:
            flip(archive.store / name)
        archive.lbctl("store", "thaw", "main", "--reason", "it is not", exit_code=11)

        archive.lbctl("scrub", "run", exit_code=6)
        (status,) = archive.client.scrubs()
        assert "4 bad instances" in status.frozen
        assert archive.problems()["store-frozen"] == ["archive"]
        assert len(times_told(archive, "instance-suspected")) == 3
        assert times_told(archive, "store-frozen") == [1]
        assert "FROZEN" in archive.status()

        # A restart changes nothing of that.
        archive.stop()
        archive.start()
        assert archive.client.scrubs()[0].frozen == status.frozen
        archive.lbctl("resume", "transfers")
        stored_at_both(both, *names)
        assert archive.client.scrubs()[0].frozen == status.frozen

        archive.lbctl("store", "thaw", "main", "--reason", "the controller was replaced")
        assert (archive.client.scrubs()[0].frozen, archive.client.scrubs()[0].bad) == ("", 0)
        both.wait_for("the alarm is over", lambda: not archive.problems())
        archive.lbctl("scrub", "run")
        assert kept_bad(archive) == []
