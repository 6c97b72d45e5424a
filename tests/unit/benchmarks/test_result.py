"""What is kept of a row says what was compared, on what, and what was not run."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.bench.main import RESULTS, chosen
from benchmarks.bench.measure import ratio
from benchmarks.bench.result import keep, result, table
from benchmarks.bench.row import Bench, Row, Setting, Turn, Variant
from benchmarks.bench.rows.every import ROWS
from benchmarks.bench.text import number


@asynccontextmanager
async def never(_: Setting) -> AsyncGenerator[Sequence[Variant]]:
    yield []


async def no_turn() -> Turn:
    raise NotImplementedError


ROW = Row(
    id="X1",
    work="some work",
    against="b; c",
    bench=Bench(name="some", unit="files", method="both do it", open=never),
    figures=lambda turns: [ratio("rate of b", turns, "a", "b", "≥ 6"), ratio("rate of c", turns, "a", "c")],
)
ABOUT = {
    "command": "scripts/bench X1",
    "commit": "0123456789abcdef",
    "date": "2026-11-30",
    "machine": {"cores": 2, "memory_gib": 23.5, "kernel": "Linux 6", "python": "3.11.7"},
    "filesystem": "ext4 of its own on a loop device",
    "load_before": 0.1,
    "rounds": 2,
    "scale": 1,
    "large_gib": 0,
}


def kept(**changed: Any) -> dict[str, Any]:
    variants = [
        Variant(name="a", run=no_turn),
        Variant(name="b", run=no_turn),
        Variant(name="c", run=None, absent="c is not installed"),
        Variant(name="d", run=None, recorded="5 files/s, recorded, not run"),
    ]
    ours = [
        Turn(seconds=2.0, amount=5000, cpu_seconds={"summit": cpu_s}, peak_bytes={"summit": 100 << 20})
        for cpu_s in (1.0, 2.0)
    ]
    theirs = [Turn(seconds=1.0, amount=5000), Turn(seconds=4.0, amount=5000)]
    turns = {"a": ours, "b": theirs}
    return result(ROW, variants, turns, {"a": {"fsyncs": 0.25}}, ABOUT | changed)


def test_a_result_holds_medians_spreads_processor_memory_and_counts() -> None:
    found = kept()
    assert found["figures"][0] == {
        "name": "rate of b", "unit": "×", "median": 0.8, "least": 0.5, "most": 2.0, "target": "≥ 6",
    }  # fmt: skip
    ours = found["variants"][0]
    assert ours["rate"] == {"median": 2500.0, "least": 2500.0, "most": 2500.0}
    assert (ours["cpu_seconds"], ours["peak_mib"]) == ({"summit": 1.5}, {"summit": 100.0})
    assert found["counts"] == {"a": {"fsyncs": 0.25}}


def test_what_is_absent_and_what_is_recorded_is_named_in_the_table() -> None:
    text = table([kept()])
    assert "absent: c is not installed" in text
    assert "5 files/s, recorded, not run" in text
    assert "not measured" in text
    assert "0.8 ×" in text


def test_a_scaled_run_says_that_it_is_no_result() -> None:
    assert "not a result" in table([kept(scale=0.01)])
    assert "not a result" not in table([kept()])


def test_a_machine_that_was_not_quiet_is_told() -> None:
    assert "others worked" in table([kept(load_before=3.0)])
    assert "others worked" not in table([kept()])


def test_a_large_file_of_another_size_is_told() -> None:
    assert "the large files had 1 GiB" in table([kept(large_gib=1.0)])
    assert "large files" not in table([kept()])


def test_a_result_is_kept_as_json_and_as_text(tmp_path: Path) -> None:
    keep(kept(), tmp_path)
    assert json.loads((tmp_path / "bench-X1.json").read_text())["id"] == "X1"
    assert (tmp_path / "bench-X1.txt").read_text() == table([kept()])


def test_figures_are_shown_without_idle_digits() -> None:
    assert [number(each) for each in (0.63456, 12.345, 1234.5, 0.0)] == ["0.635", "12.3", "1,234", "0"]


def test_long_rows_run_only_when_they_are_named() -> None:
    assert "S1-20k" not in {row.id for row in chosen(ROWS, [])}
    assert [row.id for row in chosen(ROWS, ["S1-20k"])] == ["S1-20k"]
    assert [row.id for row in chosen(ROWS, ["S1"], backlog=True)] == ["S1", "S1-20k", "S1-100k"]


def test_every_row_has_an_id_of_its_own() -> None:
    ids = [row.id for row in ROWS]
    assert len(ids) == len(set(ids))


def test_kept_results_are_of_rows_that_exist_and_of_full_amounts() -> None:
    for path in RESULTS.glob("bench-*.json"):
        found = json.loads(path.read_text())
        assert found["id"] in {row.id for row in ROWS}
        assert found["scale"] == 1
