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
DATABASES = ("SQLite", "PostgreSQL")
METHOD = (
    "A process with the daemon's own catalog code makes {commits} commits of 500 files with random names, one after"
    " another, each durable: rows, journal, signature, outbox. Then it looks up {look_ups} times 500 names that are"
    " there, as intake does. The catalog of 10,000 files is a new copy each turn; the large one grows by 1 % a turn at"
    " most. SQLite stands on the scratch filesystem; PostgreSQL (as installed: shared_buffers 128 MB; fsync on) on the"
    " machine's disk. CPU and memory are of the process, without those of the PostgreSQL server."
)


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


def named(database: str, files: int) -> str:
    """The name of a variant."""
    return f"{database}, {files:,} files"


def catalogs(large: int) -> Callable[[Setting], AbstractAsyncContextManager[Sequence[Variant]]]:
    """Opens a bench with catalogs of 10,000 and of so many files."""

    @asynccontextmanager
    async def opened(setting: Setting) -> AsyncGenerator[Sequence[Variant]]:
        files = setting.amount(large, 2 * SMALL)
        root = setting.scratch.path / "catalogs"
        root.mkdir()
        with ExitStack() as stack:
            made = {"SQLite": await on_sqlite(root, files)}
            made["PostgreSQL"] = await on_postgresql(stack.enter_context(postgres_server(durable=True)), files)
            # The names say what was meant, also where the amounts are scaled.
            yield [
                Variant(name=named(database, size), run=made[database][SMALL if size == SMALL else files].turn)
                for database in DATABASES
                for size in (SMALL, large)
            ]

    return opened


def rates(large: int, targets: Sequence[str]) -> Callable[[Turns], Sequence[Figure]]:
    """Commits: the rate at the large size, and how much of the small one's it is."""

    def figures(turns: Turns) -> list[Figure]:
        found: list[Figure] = []
        for database, target in zip(DATABASES, targets, strict=True):
            name = named(database, large)
            found += [
                value(f"{database}, files committed", "files/s", turns, name, lambda turn: turn.rate, target),
                ratio(f"{database}, rate at 10,000 files", turns, name, named(database, SMALL)),
                value(f"{database}, memory", "MiB", turns, name, lambda turn: turn.peak_bytes["catalog"] / (1 << 20)),
            ]
        return found

    return figures


def look_ups(large: int) -> Callable[[Turns], Sequence[Figure]]:
    """Look-ups by name."""
    return lambda turns: [
        value(
            f"{database}, a look-up",
            "µs",
            turns,
            named(database, large),
            lambda turn: turn.values["µs a look-up"],
            target,
        )
        for database, target in zip(DATABASES, ("≤ 8", "≤ 60"), strict=True)
    ]


def rows(large: int, suffix: str, targets: Sequence[str], scratch_gib: float) -> list[Row]:
    """D1 and D2 at a size."""
    bench = Bench(
        name=f"D1{suffix}, D2{suffix}",
        unit="files",
        method=METHOD.format(commits=COMMITS, look_ups=LOOK_UPS),
        open=catalogs(large),
        scratch_gib=scratch_gib,
    )
    return [
        Row(
            id=f"D1{suffix}",
            work=f"commits of 500 files with random names into a catalog of {large:,} files",
            against="the same into one of 10,000",
            bench=bench,
            figures=rates(large, targets),
            only_named=bool(suffix),
        ),
        Row(
            id=f"D2{suffix}",
            work=f"look-ups of names in batches of 500, in a catalog of {large:,} files",
            against="-",
            bench=bench,
            figures=look_ups(large),
            only_named=bool(suffix),
        ),
    ]


ROWS = [
    *rows(1_000_000, "", ("≥ 15,000", "≥ 20,000"), 6.0),
    *rows(10_000_000, "-10m", ("≥ 20,000", "≥ 30,000"), 24.0),
]
