"""How long a command keeps a person waiting: K1."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.bench.measure import ratio, value
from benchmarks.bench.processes import own_children_cpu_seconds
from benchmarks.bench.row import Bench, Figure, Row, Setting, Turn, Turns, Variant
from benchmarks.bench.sites import two_sites

PYTHON = "python3 start-up"
HELP = "lbctl --help"
STATUS = "lbctl status"
TIMES = 10


def repeated(command: Sequence[str], times: int) -> Callable[[], Awaitable[Turn]]:
    """Run it so many times, one after another, its output thrown away."""

    async def turn() -> Turn:
        before, began = own_children_cpu_seconds(), time.monotonic()
        for _ in range(times):
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return Turn(
            seconds=time.monotonic() - began,
            amount=times,
            cpu_seconds={"command": own_children_cpu_seconds() - before},
        )

    return turn


@asynccontextmanager
async def opened(setting: Setting) -> AsyncGenerator[Sequence[Variant]]:
    """Two sites that do nothing, one of which is asked."""
    async with two_sites(setting) as sites:
        lbctl, times = str(Path(sys.executable).with_name("lbctl")), setting.amount(TIMES)
        yield [
            Variant(name=PYTHON, run=repeated([sys.executable, "-c", "pass"], times)),
            Variant(name=HELP, run=repeated([lbctl, "--help"], times)),
            Variant(name=STATUS, run=repeated([lbctl, "--config", str(sites.archive.config), "status"], times)),
        ]


def each_ms(turn: Turn) -> float:
    """One execution."""
    return turn.seconds / turn.amount * 1e3


def figures(turns: Turns) -> list[Figure]:
    """Both commands, and how many start-ups of Python they are."""
    return [
        value(HELP, "ms", turns, HELP, each_ms, "≤ 100"),
        value(STATUS, "ms", turns, STATUS, each_ms, "≤ 200"),
        value(PYTHON, "ms", turns, PYTHON, each_ms),
        ratio(f"{PYTHON} : {HELP}", turns, HELP, PYTHON),
        ratio(f"{PYTHON} : {STATUS}", turns, STATUS, PYTHON),
    ]


ROWS = [
    Row(
        id="K1",
        work="two commands: lbctl --help, and lbctl status against a running daemon",
        against=PYTHON,
        bench=Bench(
            name="K1",
            unit="commands",
            method=f"{TIMES} executions a turn, one after another, their output thrown away; programs and modules are"
            " cached. The daemon that is asked has one peer and no files.",
            open=opened,
            scratch_gib=1.0,
        ),
        figures=figures,
    )
]
