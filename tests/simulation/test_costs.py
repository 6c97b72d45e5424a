"""What is done for a file does not grow with the files that are there: no statement walks a table that grows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

ROOT = Path(__file__).parents[2]
#: More than a segment has entries at most: where a segment may stand is looked for among so many numbers.
FEW, MANY, MORE = 600, 1800, 20
pytestmark = pytest.mark.timeout(300)


def measured(standing: int) -> dict[str, dict[str, int]]:
    """See :mod:`tests.simulation.costs`."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation.costs", str(standing), str(MORE)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=290,
    )
    assert done.returncode == 0, done.stderr
    return cast(dict[str, dict[str, int]], json.loads(done.stdout))


def test_a_file_costs_the_catalog_the_same_whatever_is_there() -> None:
    few, many = measured(FEW), measured(MANY)
    for phase in ("files", "idle"):
        grown = {
            statement: (few[phase].get(statement, 0), steps)
            for statement, steps in many[phase].items()
            if steps > 1.3 * few[phase].get(statement, 0) + 500
        }
        assert not grown, f"{phase}: steps of these statements with {FEW} and {MANY} files"
        assert sum(few[phase].values()) > 1000, "something was measured"
