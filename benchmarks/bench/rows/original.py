"""Against the recorded figures of the original Librarian: P1."""

from __future__ import annotations

from benchmarks.bench.measure import value
from benchmarks.bench.row import Bench, Row, Variant
from benchmarks.bench.rows.transfer import LIBRARIAN, METHOD, pulls

#: The middle of what was recorded: 1.6 to 4.9 ingested, 2 to 5 cloned.
INGESTED_A_S, CLONED_A_S = 3.3, 3.5
ORIGINAL = Variant(
    name="the original, v5.0.1",
    run=None,
    recorded="recorded, not run: 1.6 to 4.9 ingested/s, 2 to 5 cloned/s",
)
BENCH = Bench(
    name="P1",
    unit="files",
    method=METHOD.partition(" rsync:")[0].format(files=500, kib=64)
    + " Ingested: from the rename into the drop directory to the last commit at summit, before that. The original is"
    f" not run: its middle, {INGESTED_A_S} ingested and {CLONED_A_S} cloned files/s, is of records of other machines.",
    open=pulls(500, 65536, [ORIGINAL], peers=()),
)
ROWS = [
    Row(
        id="P1",
        work="500 × 64 KiB ingested, then cloned",
        against="the Librarian v5.0.1, as recorded",
        bench=BENCH,
        figures=lambda turns: [
            value(
                "ingested, of the original's 3.3/s",
                "×",
                turns,
                LIBRARIAN,
                lambda turn: turn.values["ingested/s"] / INGESTED_A_S,
                "≥ 1000",
            ),
            value(
                "cloned, of the original's 3.5/s",
                "×",
                turns,
                LIBRARIAN,
                lambda turn: turn.rate / CLONED_A_S,
                "≥ 1000",
            ),
        ],
    )
]
