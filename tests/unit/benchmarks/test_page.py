"""docs/performance.md says of each row what was measured, and by how much a target is missed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks.bench.page import page, verdict

MACHINE = {"cores": 2, "memory_gib": 8.0, "kernel": "Linux 6.1.2-abc", "python": "3.11.7"}


def kept(row: str, median: float | None, target: str) -> dict[str, Any]:
    """A result with one figure and two variants, one of them absent."""
    spread = {"median": 120.0, "least": 100.0, "most": 140.0}
    return {
        "id": row,
        "work": f"the work of {row}",
        "against": "others",
        "method": "As it is done.",
        "command": f"scripts/bench {row} --rounds 5",
        "commit": "0123456789abcdef",
        "date": "2026-01-02",
        "machine": MACHINE,
        "filesystem": "ext4",
        "load_before": 0.1,
        "rounds": 5,
        "figures": [
            {"name": "rate", "unit": "×", "median": median, "least": 1.0, "most": 3.0, "target": target},
        ],
        "variants": [
            {
                "name": "librarian",
                "unit": "files/s",
                "rate": spread,
                "cpu_seconds": {"summit": 1.5},
                "peak_mib": {},
                "values": {},
            },
            {"name": "rclone", "recorded": "", "absent": "no rclone"},
        ],
        "counts": {},
    }


@pytest.mark.parametrize(
    ("median", "target", "said"),
    [
        (6.5, "≥ 6, stretch 8", "met"),
        (2.0, "≥ 6, stretch 8", "misses by 3 ×"),
        (300.0, "≤ 150", "misses by 2 ×"),
        (150.0, "≤ 150", "met"),
        (5_000.0, "≥ 20,000", "misses by 4 ×"),
        (0.0, "≥ 6", "misses"),
        (0.0, "≤ 6", "met"),
        (None, "≥ 6", ""),
        (3.0, "within 20 % of S1", ""),
        (3.0, "", ""),
    ],
)
def test_a_target_is_met_or_missed_by_a_factor(median: float | None, target: str, said: str) -> None:
    assert verdict(median, target) == said


def test_rows_stand_in_the_order_of_the_budgets_with_their_notes_and_others_at_the_end(tmp_path: Path) -> None:
    for result in (kept("S1", 2.0, "≥ 6"), kept("S1-20k", 1.0, ""), kept("D1", 9.0, "≥ 6"), kept("L1", None, "≥ 1")):
        (tmp_path / f"bench-{result['id']}.json").write_text(json.dumps(result))
    text = page(
        tmp_path, "Intro.\n\n## Other\n\nlast\n\n## S1\n\nwhy it misses\n\n## R2\n\nno run\n", "<!-- made -->\n"
    )
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == ["# Performance", "## All rows", "## L1", "## S1", "## S1-20k", "## D1", "## R2", "## Other"]
    assert text.startswith("# Performance\n\n<!-- made -->\n\nIntro.\n")
    assert "| [S1](#s1) | the work of S1 | rate | 2 × | 1 to 3 | ≥ 6 | misses by 3 × |" in text
    assert "| librarian | 120 files/s | 100 to 140 | summit 1.5 |" in text
    assert "| rclone | absent: no rclone |" in text
    assert text.index("why it misses") < text.index("## S1-20k")
    assert "No result yet: L2, " in text
    assert "abc" not in text, "no name of a kernel's build"


def test_without_any_result_it_says_so(tmp_path: Path) -> None:
    assert "No result yet: L1, L2, " in page(tmp_path, "Intro.\n", "")


def test_what_one_run_measured_of_several_rows_stands_once(tmp_path: Path) -> None:
    together = {"command": "scripts/bench L1 L2", "method": "As both are done."}
    for result in (kept("L1", 2.0, "≥ 1") | together, kept("L2", 3.0, "≥ 1") | together, kept("L3", 3.0, "≥ 1")):
        (tmp_path / f"bench-{result['id']}.json").write_text(json.dumps(result))
    text = page(tmp_path, "How fast it is.", "")
    assert text.count("As both are done.") == 1
    assert text.count("| librarian |") == 2
    assert "against others. Method, machine and variants: [L1](#l1), the same run." in text
