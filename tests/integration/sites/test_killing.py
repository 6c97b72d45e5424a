"""``kill -9`` at random moments: of either daemon, of nats-server. Everything arrives, each file once.

``LIBRARIAN_KILLS=30`` sets the number of kills, ``LIBRARIAN_SEED=N`` repeats a run's choices.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.oracle import digest_of, digest_of_book, in_book, some_bytes, standing
from tests.support.postgres import Postgres
from tests.support.sites import SQLITE, Pair, pair

FILES = 300
BOOKS = 3
KILLS = int(os.environ.get("LIBRARIAN_KILLS", "4"))
SEED = int(os.environ.get("LIBRARIAN_SEED", "0")) or int.from_bytes(os.urandom(4), "big")
#: A kill comes so long after the last one's victim was started again,
LONGEST_PAUSE_S = 1.0
#: and mostly after that one answered.
DIES_AT_WORK = 0.7

pytestmark = pytest.mark.timeout(120 + 20 * KILLS)


def files() -> dict[str, bytes]:
    """Mostly small, some beyond what fits into a bundle, one that takes a while."""
    sizes = [48 << 20, *[3 << 20] * 8]
    sizes += [1000 + 97 * n for n in range(FILES - len(sizes))]
    return {f"obs/{n % 13}/f_{n:03}.dat": some_bytes(size, n) for n, size in enumerate(sizes)}


def book(number: int) -> dict[str, bytes | None]:
    """A hundred members, one of them large."""
    members: dict[str, bytes | None] = {f"m/{n:03}": some_bytes(20_000 + n, (number, n)) for n in range(100)}
    return members | {"large": some_bytes(6 << 20, number), "empty": None}


def portions(everything: dict[str, bytes], chance: random.Random) -> Iterator[list[str]]:
    """The names in random order, in one portion more than there are kills."""
    names = list(everything)
    chance.shuffle(names)
    size = len(names) // (KILLS + 1) + 1
    for start in range(0, len(names), size):
        yield names[start : start + size]


def kill_one(both: Pair, chance: random.Random) -> str:
    """Kill one of the three processes and have it started again; which one it was."""
    victim = chance.choice(["summit", "archive", "nats-server"])
    if victim == "nats-server":  # the daemon starts it again
        both.wait_for("nats-server runs", both.source.kill_bus, deadline_s=60)
        return victim
    site = both.source if victim == "summit" else both.destination
    site.kill()
    site.spawn()
    if chance.random() < DIES_AT_WORK:  # else the next kill may come while it starts and recovers
        both.wait_for(f"{victim} answers", site.answers, deadline_s=60)
    return victim


@pytest.mark.parametrize("catalog", ["sqlite", "postgres"])
@pytest.mark.fault(1, 2, 17)
def test_killed_at_any_moment_nothing_is_lost_and_nothing_is_stored_twice(
    tmp_path: Path, postgres: Postgres, catalog: str
) -> None:
    """300 files and 3 books are dropped while daemons and the bus are killed; at the end all is as if nothing was."""
    print(f"LIBRARIAN_SEED={SEED} LIBRARIAN_KILLS={KILLS}")  # noqa: T201 - pytest shows it where the test fails
    chance = random.Random(SEED)
    everything = files()
    books = {f"book-{n}": book(n) for n in range(BOOKS)}
    left = list(books)
    catalogs = (SQLITE, SQLITE) if catalog == "sqlite" else (postgres.new_database(), postgres.new_database())
    with pair(tmp_path, catalogs=catalogs) as both:
        for number, names in enumerate(portions(everything, chance)):
            for name in names:
                both.source.drop_file(name, everything[name])
            if left:
                name = left.pop()
                both.source.drop_book(name, books[name])
            if number < KILLS:
                time.sleep(chance.uniform(0, LONGEST_PAUSE_S))  # the moment is what is random here
                print(f"kill {number + 1}: {kill_one(both, chance)}")  # noqa: T201 - the same
        both.acknowledged(FILES + BOOKS, deadline_s=90 + 3 * KILLS)

        digests = {name: digest_of(data) for name, data in everything.items()}
        wanted = dict(digests)
        for name, members in books.items():
            digests[name] = digest_of_book(members)
            wanted |= in_book(name, members)
        once = Counter(list(digests))
        for site in both.sites:
            assert standing(site.store) == wanted
            assert site.told("file.ingested", "summit") == once
            assert site.told("instance.registered", "archive") == once
            for kind in ("file.ingested", "instance.registered"):
                assert {entry["name"]: entry["digest"] for entry in site.entries(kind)} == digests
            assert site.client.status().counts.conflicts == 0
            assert site.left_in_staging() == []
        # Which directories it had emptied a killed daemon does not remember: empty ones may stay.
        assert [path for path in both.source.left_in_drop() if not path.is_dir()] == []
        assert both.source.rejected() == both.source.rejected(both.source.drop_books) == {}
        both.assert_whole()
