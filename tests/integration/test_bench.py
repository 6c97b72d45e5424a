"""A row is measured with real daemons, from the command to the table."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.bench.main import RESULTS, main


def test_a_row_runs_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in RESULTS.iterdir()}
    assert main(["P1", "--rounds", "1", "--scale", "0.02", "--no-mount", "--dir", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "P1: 500 × 64 KiB ingested, then cloned" in said
    assert "all amounts were scaled by 0.02: not a result" in said
    assert "recorded, not run" in said
    assert not list(tmp_path.iterdir())
    assert {path: path.stat().st_mtime_ns for path in RESULTS.iterdir()} == before


def test_an_unknown_row_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["Z9"]) == 2
    assert "Z9" in capsys.readouterr().err
