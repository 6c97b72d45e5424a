"""All rows, in the order of the budgets."""

from __future__ import annotations

from benchmarks.bench.row import Row
from benchmarks.bench.rows import intake, large, latency, original, transfer

ROWS: list[Row] = [*large.ROWS, *transfer.ROWS, *intake.ROWS, *latency.ROWS, *original.ROWS]
