"""Commits into a large catalog, and look-ups in it: D1, D2."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from pathlib import Path

from benchmarks.bench.child import child
from benchmarks.bench.commits import PER_COMMIT
from benchmarks.bench.measure import ratio, value
from benchmarks.bench.row import Bench, Figure, Row, Setting, Turn, Turns, Variant
from tests.support.postgres import Postgres, postgres_server

#: Commits, and batches of names that are looked up, in a turn.
COMMITS = 20
LOOK_UPS = 20
SMALL = 10_000
SQLITE, POSTGRESQL = "SQLite", "PostgreSQL"
METHOD = (
    "A process with the daemon's own catalog code makes {commits} commits of 500 files with random names, one after"
    " another, each durable: rows, journal, signature, outbox. Then it looks up {look_ups} times 500 names that are"
    " there, as intake does. The catalog of 10,000 files is a new copy each turn; the large one grows by 1 % a turn at"
    " most. {place}"
)
PLACES = {
    SQLITE: "SQLite, on the scratch filesystem.",
    POSTGRESQL: "PostgreSQL as it is installed (shared_buffers 128 MB, fsync on), on the machine's disk. CPU and memory"
    " are without those of its server.",
}


class Filled:
    """A catalog with so many files. ``at`` gives its URL, or each time that of a new copy."""

    def __init__(self, at: Callable[[], str], files: int, *, copied: bool) -> None:
        self._at = at
        self._files = files
        self._copied = copied

    async def turn(self) -> Turn:
        """Commits, then look-ups."""
        url, files = await asyncio.to_thread(self._at), COMMITS * PER_COMMIT
        wrote = await child("commits", "commit", url, "--first", self._files, "--files", files)
        if not self._copied:
            self._files += files + PER_COMMIT
        found = await child("commits", "find", url, "--files", LOOK_UPS * PER_COMMIT)
        return Turn(
            seconds=wrote["seconds"],
            amount=files,
            cpu_seconds={"catalog": wrote["cpu_seconds"]},
            peak_bytes={"catalog": int(wrote["peak_bytes"])},
            values={
                "p50 ms": wrote["p50 ms"],
                "p99 ms": wrote["p99 ms"],
                "MiB written a commit": wrote["written_bytes"] / (COMMITS + 1) / (1 << 20),
                "µs a look-up": found["seconds"] / ((LOOK_UPS - 1) * PER_COMMIT) * 1e6,
            },
        )


async def filled(url: str, files: int) -> None:
    """Make them."""
    await child("commits", "fill", url, "--files", files)


async def on_sqlite(root: Path, large: int) -> dict[int, Filled]:
    """Both sizes, by files."""
    numbers = itertools.count()

    def copy() -> str:
        target = root / f"copy-{next(numbers)}"
        target.mkdir()
        shutil.copy(root / f"{SMALL}.sqlite", target / "catalog.sqlite")
        return f"sqlite:///{target}/catalog.sqlite"

    for files in (SMALL, large):
        await filled(f"sqlite:///{root}/{files}.sqlite", files)
    return {
        SMALL: Filled(copy, SMALL, copied=True),
        large: Filled(lambda: f"sqlite:///{root}/{large}.sqlite", large, copied=False),
    }


async def on_postgresql(server: Postgres, large: int) -> dict[int, Filled]:
    """The same."""
    urls = {files: await asyncio.to_thread(server.new_database) for files in (SMALL, large)}
    for files, url in urls.items():
        await filled(url, files)
    return {
        SMALL: Filled(lambda: server.copied(urls[SMALL]), SMALL, copied=True),
        large: Filled(lambda: urls[large], large, copied=False),
    }


def named(files: int) -> str:
    """The name of a variant."""
    return f"{files:,} files"


def catalogs(database: str, large: int) -> Callable[[Setting], AbstractAsyncContextManager[Sequence[Variant]]]:
    """Opens a bench with catalogs of 10,000 and of so many files."""

    @asynccontextmanager
    async def opened(setting: Setting) -> AsyncGenerator[Sequence[Variant]]:
        files = setting.amount(large, 2 * SMALL)
        with ExitStack() as stack:
            if database == SQLITE:
                made = await on_sqlite(setting.scratch.path, files)
            else:
                made = await on_postgresql(stack.enter_context(postgres_server(durable=True)), files)
            # The names say what was meant, also where the amounts are scaled.
            yield [
                Variant(name=named(SMALL), run=made[SMALL].turn),
                Variant(name=named(large), run=made[files].turn),
            ]

    return opened


def commits(large: int, target: str) -> Callable[[Turns], Sequence[Figure]]:
    """The rate at the large size, and how much of the small one's it is."""
    return lambda turns: [
        value("files committed", "files/s", turns, named(large), lambda turn: turn.rate, target),
        ratio("rate at 10,000 files", turns, named(large), named(SMALL)),
        value("memory", "MiB", turns, named(large), lambda turn: turn.peak_bytes["catalog"] / (1 << 20)),
    ]


def look_ups(large: int, target: str) -> Callable[[Turns], Sequence[Figure]]:
    """Look-ups by name."""
    return lambda turns: [
        value("a look-up", "µs", turns, named(large), lambda turn: turn.values["µs a look-up"], target)
    ]


def rows(database: str, large: int, suffix: str, targets: tuple[str, str], scratch_gib: float) -> list[Row]:
    """D1 and D2 of a database at a size; ``targets`` of commits and of look-ups."""
    bench = Bench(
        name=f"D1{suffix}, D2{suffix}",
        unit="files",
        method=METHOD.format(commits=COMMITS, look_ups=LOOK_UPS, place=PLACES[database]),
        open=catalogs(database, large),
        scratch_gib=scratch_gib,
    )
    return [
        Row(
            id=f"D1{suffix}",
            work=f"commits of 500 files with random names into {database} with {large:,} files",
            against="the same into one of 10,000",
            bench=bench,
            figures=commits(large, targets[0]),
            only_named="10m" in suffix,
        ),
        Row(
            id=f"D2{suffix}",
            work=f"look-ups of names in batches of 500, in {database} with {large:,} files",
            against="-",
            bench=bench,
            figures=look_ups(large, targets[1]),
            only_named="10m" in suffix,
        ),
    ]


ROWS = [
    *rows(SQLITE, 1_000_000, "", ("≥ 15,000", "≤ 8"), 6.0),
    *rows(POSTGRESQL, 1_000_000, "-pg", ("≥ 20,000", "≤ 60"), 0.5),
    *rows(SQLITE, 10_000_000, "-10m", ("≥ 20,000", "≤ 8"), 24.0),
    *rows(POSTGRESQL, 10_000_000, "-pg-10m", ("≥ 30,000", "≤ 60"), 0.5),
]
