"""All rows, in the order of the budgets."""

from __future__ import annotations

from benchmarks.bench.row import Row
from benchmarks.bench.rows import (
    catalog,
    commands,
    durability,
    intake,
    large,
    latency,
    local,
    memory,
    original,
    replay,
    restart,
    transfer,
)

ROWS: list[Row] = [
    *large.ROWS,
    *transfer.ROWS,
    *intake.ROWS,
    *latency.ROWS,
    *original.ROWS,
    *catalog.ROWS,
    *restart.ROWS,
    *replay.ROWS,
    *local.ROWS,
    *commands.ROWS,
    *memory.ROWS,
    *durability.ROWS,
]
