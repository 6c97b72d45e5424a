"""A second instance on the same machine: C1, which waits for several stores."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from benchmarks.bench.measure import ratio
from benchmarks.bench.row import Bench, Row, Setting, Variant

LIBRARIAN = "librarian"
CP = "cp + sync"
NOT_YET = (
    "not yet: the adapter `local` is installed, and no site offers it before there are instances in several stores"
)


@asynccontextmanager
async def opened(_: Setting) -> AsyncGenerator[Sequence[Variant]]:
    """Nothing to run."""
    yield [Variant(name=LIBRARIAN, run=None, absent=NOT_YET), Variant(name=CP, run=None, absent="nothing to compare")]


ROWS = [
    Row(
        id="C1",
        work="a local instance: copied, hashed, durable",
        against=CP,
        bench=Bench(name="C1", unit="bytes", method="Nothing is run.", open=opened, scratch_gib=0.5),
        figures=lambda turns: [ratio("rate of cp + sync", turns, LIBRARIAN, CP, "≥ 1.3")],
    )
]
