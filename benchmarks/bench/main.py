"""Measures the rows of the budgets, each against others in the same run.

    scripts/bench [ID…] [--rounds N] [--count] [--dir DIRECTORY]

Without an ID: all rows but the long ones, which run only when they are named; --list names them all. Prints a table
of each row, and keeps it in benchmarks/results/bench-ID.json and .txt. It never fails for a time. It starts sites,
servers and peers of its own, on a filesystem of its own where mounting is permitted (as root).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.bench.machine import commit, load, machine
from benchmarks.bench.measure import count, measure
from benchmarks.bench.result import keep, result, table
from benchmarks.bench.row import Bench, Row, Setting
from benchmarks.bench.rows.every import ROWS
from benchmarks.bench.scratch import scratch

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, measure, print, keep. Exit 2 where an ID is unknown."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ids", nargs="*", metavar="ID")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="turns of each variant [5]")
    parser.add_argument("--count", action="store_true", help="one more turn: statements, syncs, … for each file")
    parser.add_argument("--backlog", action="store_true", help="also the long rows of the IDs: 20,000 and 100,000 owed")
    parser.add_argument("--list", action="store_true", help="name the rows")
    parser.add_argument("--dir", type=Path, help="where the scratch filesystem is made [the directory for such]")
    parser.add_argument("--gib", type=float, default=0.0, metavar="N", help="size of a large file, where 4 do not fit")
    parser.add_argument("--no-keep", action="store_true", help="print only")
    parser.add_argument("--no-mount", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--scale", type=float, default=1.0, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.list:
        for row in ROWS:
            sys.stdout.write(f"{row.id:10} {row.work}{' (only when named)' if row.only_named else ''}\n")
        return 0
    rows = chosen(ROWS, asked.ids, backlog=asked.backlog)
    unknown = sorted(set(asked.ids) - {row.id for row in ROWS})
    if unknown:
        sys.stderr.write(f"there is no row {', '.join(unknown)}: scripts/bench --list\n")
        return 2
    for bench in dict.fromkeys(row.bench for row in rows):
        results = asyncio.run(run(bench, [row for row in rows if row.bench is bench], asked))
        sys.stdout.write(table(results) + "\n")
        sys.stdout.flush()
        if asked.scale == 1 and not asked.no_keep:
            for kept in results:
                keep(kept, RESULTS)
    return 0


def chosen(rows: Sequence[Row], ids: Sequence[str], *, backlog: bool = False) -> list[Row]:
    """Those of the IDs, in the order of the table; without IDs all that need not be named.

    ``backlog`` adds the long ones of the same name, such as S1-20k to S1.
    """
    if not ids:
        return [row for row in rows if not row.only_named or backlog]
    return [row for row in rows if row.id in ids or (backlog and row.id.partition("-")[0] in ids)]


async def run(bench: Bench, rows: Sequence[Row], asked: argparse.Namespace) -> list[dict[str, Any]]:
    """One bench, and the results of the rows that share it."""
    before, began = load(), time.monotonic()

    def say(line: str) -> None:
        sys.stderr.write(f"{time.monotonic() - began:7.1f} s  {line}\n")

    size_gib = max(0.5, bench.scratch_gib * asked.scale)
    with scratch(size_gib, asked.dir, mounted=not asked.no_mount) as place:
        setting = Setting(scratch=place, scale=asked.scale, large_gib=asked.gib)
        variants, turns = await measure(bench, setting, asked.rounds, say)
        filesystem = place.filesystem
    counts: dict[str, Mapping[str, float]] = {}
    if asked.count:
        with scratch(size_gib, asked.dir, mounted=not asked.no_mount) as place:
            counts = await count(bench, replace(setting, scratch=place))
    about: dict[str, Any] = {
        "command": f"scripts/bench {' '.join(row.id for row in rows)} --rounds {asked.rounds}"
        + (" --count" if asked.count else "")
        + (f" --gib {asked.gib:g}" if asked.gib else ""),
        "commit": commit(ROOT),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": machine(),
        "filesystem": filesystem,
        "load_before": before,
        "rounds": asked.rounds,
        "scale": asked.scale,
        "large_gib": asked.gib,
    }
    return [result(row, variants, turns, counts, about) for row in rows]


if __name__ == "__main__":
    sys.exit(main())
