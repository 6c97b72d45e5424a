"""What changed in a store is found by the next pass, mended from another site, told once, and over by itself."""

from __future__ import annotations

import os
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


def stored_at_both(both: Pair, *names: str) -> None:
    for name in names:
        both.at_both(f"holds {name}", lambda site, name=name: holders(site, name) == ["archive", "summit"])


def times_told(site: Site, code: str) -> list[int]:
    """How often incidents of a code were told of, open and over."""
    return [incident.count for incident in site.client.incidents(code=code).incidents]


def kept_bad(site: Site) -> list[Path]:
    return sorted((site.store / ".librarian" / "bad").iterdir())


@pytest.mark.fault(19)
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
        good_inode = (archive.store / "book" / "m1").stat().st_ino
        received = archive.client.status().stores[0]
        archive.lbctl("scrub", "run", exit_code=6)
        for name in ("a.dat", "book"):
            both.wait_for(
                f"{name} is mended",
                lambda name=name: (
                    archive.entries("instance.healed", "archive") and archive.verified_at(name) == ["archive", "summit"]
                ),
            )
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
