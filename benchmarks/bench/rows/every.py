"""All rows, in the order of the budgets."""

from __future__ import annotations

from benchmarks.bench.row import Row
from benchmarks.bench.rows import transfer

ROWS: list[Row] = [*transfer.ROWS]
