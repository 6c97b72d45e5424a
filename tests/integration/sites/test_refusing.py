"""What is dropped and may not be ingested: refused for its own reason, kept, and shown, end to end."""

from __future__ import annotations

import os
import socket
import stat
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from tests.support.oracle import standing
from tests.support.sites import Pair, Site, pair

DEEP = b"/".join([b"y" * 250] * 4 + [b"z" * 21])


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Generator[Pair]:
    with pair(tmp_path_factory.mktemp("sites")) as made:
        yield made


def rejected(both: Pair, top: bytes, drop: Path | None = None) -> tuple[str, str]:
    """The reason beside a refused thing, and what ``status`` says of it."""
    site = both.source
    name = os.fsdecode(top)
    reason = both.wait_for(f"{top!a} is refused", lambda: site.rejected(drop).get(name))
    path = f"what:  {reason.partition('what:  ')[2].partition(' was not ingested')[0]}"
    assert path != "what:  "
    shown = both.wait_for(
        "status shows it",
        lambda: [
            problem.message
            for problem in site.client.status().problems
            if problem.code == "intake-refused" and path.removeprefix("what:  ") in problem.message
        ],
    )
    return reason, shown[0]


BAD_NAMES = [
    (b"bell\x07.dat", "contains a control character"),
    (b"two\nlines.dat", "contains a control character"),
    (b"latin-\xe9.dat", "is not valid UTF-8"),
    (b"e\xcc\x81t\xc3\xa9.dat", "is not in Unicode normal form C"),
    (DEEP, "is longer than 1024 bytes"),
]


@pytest.mark.parametrize(("name", "why"), BAD_NAMES)
@pytest.mark.fault(30, 32)
def test_a_name_that_breaks_a_rule_is_refused_and_its_bytes_are_kept(both: Pair, name: bytes, why: str) -> None:
    data = b"kept: " + name
    both.source.drop_file(name, data)
    top = name.split(b"/")[0]
    reason, shown = rejected(both, top)
    assert why in reason
    assert why in shown
    assert "code:  E101 name_invalid" in reason
    kept = [path for path in both.source.drop.glob(".rejected/*/**/*") if path.is_file() and path.name != "REASON.txt"]
    assert data in [path.read_bytes() for path in kept]


def fifo(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        here = os.open(path.parent, os.O_PATH)
        bound.bind(f"/proc/self/fd/{here}/{path.name}")
        os.close(here)


def symlink(path: Path) -> None:
    path.symlink_to("/etc/passwd")


@pytest.mark.parametrize(("make", "why"), [(symlink, "a symbolic link"), (fifo, "a FIFO"), (unix_socket, "a socket")])
def test_a_book_with_what_is_no_file_is_refused_whole(both: Pair, make: Callable[[Path], None], why: str) -> None:
    site = both.source
    name = f"book-with-{make.__name__}"
    book = site.make_book(name, {"good.dat": b"good"})
    make(book / "odd")
    mode = (book / "odd").lstat().st_mode
    book.rename(site.drop_books / name)
    reason, shown = rejected(both, name.encode(), site.drop_books)
    assert why in reason
    assert why in shown
    assert "code:  E109 book_refused" in reason
    (kept,) = site.drop_books.glob(f".rejected/*/{name}")
    assert (kept / "good.dat").read_bytes() == b"good"
    assert stat.S_IFMT((kept / "odd").lstat().st_mode) == stat.S_IFMT(mode)


@pytest.mark.fault(33)
def test_a_case_twin_is_refused(both: Pair) -> None:
    both.source.drop_file("Night.fits", b"first")
    both.wait_for("the first is known", lambda: "Night.fits" in both.source.told("file.ingested"))
    both.source.drop_file("night.FITS", b"second")
    reason, shown = rejected(both, b"night.FITS")
    assert "differs only in letter case from 'Night.fits'" in reason
    assert "letter case" in shown
    assert "code:  E405 case_twin" in reason


def test_other_bytes_under_a_taken_name_are_refused_and_the_same_bytes_change_nothing(both: Pair) -> None:
    """Files are immutable. Who drops the same once more has done nothing wrong, and nothing is told of it."""
    site = both.source
    site.drop_file("taken.dat", b"first")
    site.drop_book("taken-book", {"a": b"1", "empty": None})
    both.wait_for(
        "archive has both",
        lambda: both.destination.told("instance.registered", "archive").keys() >= {"taken.dat", "taken-book"},
    )
    accepted = sum(intake.accepted for intake in site.client.status().intake)

    site.drop_file("taken.dat", b"first")
    site.drop_book("taken-book", {"a": b"1", "empty": None})
    both.wait_for(
        "they are accepted again",
        lambda: (
            sum(intake.accepted for intake in site.client.status().intake) == accepted + 2 and not site.left_taken()
        ),
    )

    site.drop_file("taken.dat", b"other")
    site.drop_book("taken-book", {"a": b"2", "empty": None})
    for name, drop in ((b"taken.dat", site.drop), (b"taken-book", site.drop_books)):
        reason, shown = rejected(both, name, drop)
        assert "code:  E107 name_taken" in reason
        assert "other bytes" in shown or "taken" in shown
    assert [path.read_bytes() for path in site.drop.glob(".rejected/*/taken.dat")] == [b"other"]
    assert [path.read_bytes() for path in site.drop_books.glob(".rejected/*/taken-book/a")] == [b"2"]
    for holder in both.sites:
        assert (holder.store / "taken.dat").read_bytes() == b"first"
        assert (holder.store / "taken-book" / "a").read_bytes() == b"1"
        told = holder.told("file.ingested") + holder.told("instance.registered")
        assert (told["taken.dat"], told["taken-book"]) == (2, 2)


@pytest.mark.fault(35)
def test_a_file_that_is_still_being_written_is_waited_for_and_shown(both: Pair) -> None:
    site = both.source
    with (site.drop / "slow.dat").open("wb") as file:
        file.write(b"begin")
        file.flush()
        waiting = both.wait_for(
            "status shows that it is waited for",
            lambda: [
                item.reason
                for intake in site.client.status().intake
                for item in intake.waiting_items
                if item.name == "slow.dat" and item.reason == "still-being-written"
            ],
        )
        assert waiting == ["still-being-written"]
        assert "still-being-written" in site.status()
        file.write(b" and end")
    both.wait_for("it arrives", lambda: both.source.told("instance.registered", "archive")["slow.dat"])
    assert (both.destination.store / "slow.dat").read_bytes() == b"begin and end"
    assert site.told("file.ingested")["slow.dat"] == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of other users")
def test_a_file_of_another_user_is_copied_so_that_its_owner_cannot_change_it(both: Pair) -> None:
    site = both.source
    made = site.making / "theirs.dat"
    made.write_bytes(b"theirs")
    os.chown(made, 12345, 12345)
    inode = made.stat().st_ino
    with made.open("rb") as held:  # so that its number is not given to another file
        made.rename(site.drop / "theirs.dat")
        both.wait_for("it is ingested", lambda: site.told("file.ingested")["theirs.dat"])
        stored = (site.store / "theirs.dat").stat()
        assert (stored.st_uid, stored.st_ino == inode) == (os.geteuid(), False)
        assert os.fstat(held.fileno()).st_nlink == 0
    (entry,) = [known for known in site.entries("file.ingested") if known["name"] == "theirs.dat"]
    assert entry["uploader"] == "12345"


def conflicting(both: Pair, ingest_apart: Callable[[Site, Site], None]) -> None:
    """Two sites ingest one name with other bytes while apart. Then: what must be so at both."""
    ours, theirs = both.sites
    ingest_apart(ours, theirs)
    both.at_both("the conflict shows", lambda site: "conflict" in site.problems())
    # Something else is on its way at the same time, and arrives: so the two had their chance.
    ours.drop_file("after.dat", b"from summit")
    theirs.drop_file("also-after.dat", b"from archive")
    both.at_both("what came after arrives", lambda site: {"after.dat", "also-after.dat"} <= set(standing(site.store)))
    for site, data in ((ours, b"of summit"), (theirs, b"of archive")):
        assert (site.store / "same.dat").read_bytes() == data
        found = site.client.file("same.dat")
        assert found.conflict
        assert sorted(instance.site for file in found.files for instance in file.instances) == ["archive", "summit"]
        assert site.problems()["conflict"] == ["same.dat"]
        assert site.client.status().counts.conflicts == 1
        assert "same.dat" not in site.told("instance.registered")
        assert not [
            transfer for transfer in site.transfers() if transfer.name == "same.dat" and transfer.state != "cancelled"
        ]
        assert site.told("file.ingested") == Counter({"same.dat": 2, "after.dat": 1, "also-after.dat": 1})
        assert "conflict" in site.lbctl("file", "show", "same.dat")
        assert not site.rejected()
        assert site.left_in_staging() == []


def test_one_name_ingested_with_other_bytes_while_a_daemon_was_down_is_a_conflict_at_both(tmp_path: Path) -> None:
    with pair(tmp_path) as both:
        both.source.lbctl("subscription", "add", "--from", "archive")

        def apart(ours: Site, theirs: Site) -> None:
            theirs.kill()
            ours.drop_file("same.dat", b"of summit")
            both.wait_for("summit ingests", lambda: ours.told("file.ingested")["same.dat"])
            ours.kill()  # and the bus with it
            theirs.start()
            theirs.drop_file("same.dat", b"of archive")
            both.wait_for("archive ingests", lambda: theirs.told("file.ingested")["same.dat"])
            ours.start()

        conflicting(both, apart)
        both.assert_whole()
