"""Whole sites simulated: a few seeds at each run of the tests, the same seed twice, and every mutation caught."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from tests.simulation.main import KEPT
from tests.simulation.mutations import MUTATIONS
from tests.simulation.run import Result

ROOT = Path(__file__).parents[2]
SEEDS = range(1, 7)
#: Each mutation must be seen within so many seeds.
WITHIN = 20
pytestmark = pytest.mark.timeout(300)


def command(*arguments: str, hash_seed: str = "0") -> str:
    """What the simulator says; it must end well."""
    environ = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation.main", *arguments],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=290,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(1200)  # the large seeds take three minutes of one core, and others run beside
def test_no_rule_is_broken_in_some_seeds_and_in_every_one_that_ever_failed(tmp_path: Path) -> None:
    said = command("--seeds", str(len(SEEDS)), "--out", str(tmp_path / "results"), "--workers", "1")
    assert "0 with a broken rule" in said
    results = [msgspec.json.decode(line, type=Result) for line in (tmp_path / "results").read_text().splitlines()]
    assert sum(result.checks["I1 accepted is there"] for result in results) > 100
    assert sum(result.checks["I2 claimed is so"] for result in results) > 300
    assert sum(sum(result.faults.values()) for result in results) > 100, "faults are played"
    for line in KEPT.read_text().splitlines():
        if line and not line.startswith("#"):
            seed, sites, files = line.split()[:3]
            command("--seed", seed, "--sites", sites, "--files", files)


def test_the_same_seed_is_the_same_run_whatever_the_hashes_are() -> None:
    traces = {command("--seed", "3", "--files", "10", hash_seed=seed).split("trace ")[1] for seed in ("0", "1", "77")}
    assert len(traces) == 1


def test_a_long_run_that_was_broken_off_goes_on_where_it_was(tmp_path: Path) -> None:
    out = tmp_path / "results"
    command("--seeds", "1", "--out", str(out), "--workers", "1")
    before = out.read_text()
    said = command("--seeds", "2", "--out", str(out), "--resume", "--workers", "1")
    assert said.startswith("2 seeds")
    assert out.read_text().startswith(before)
    assert [msgspec.json.decode(line, type=Result).seed for line in out.read_text().splitlines()] == [1, 2]


@pytest.mark.parametrize(
    "number", range(len(MUTATIONS)), ids=[mutation.name.replace(" ", "-") for mutation in MUTATIONS]
)
def test_a_guard_that_is_taken_away_is_missed(number: int) -> None:
    said = command("--mutation", str(number), "--seeds", str(WITHIN))
    assert MUTATIONS[number].name in said
