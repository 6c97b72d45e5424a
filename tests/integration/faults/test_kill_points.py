"""SIGKILL at system calls of intake, pull, callback, restart, and where bytes leave their names, are mended, or are
given up (rows 1 and 2).

Some points a run, chosen by a seed that is printed; all of them by ``scripts/kill-sweep``. ``LIBRARIAN_POINTS`` is how
many of each operation, ``LIBRARIAN_SEED`` repeats a run's choices, ``LIBRARIAN_OUT`` keeps what came of each.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from tests.support.killing import OPERATIONS, Point, Sweep
from tests.support.sites import pair

POINTS = int(os.environ.get("LIBRARIAN_POINTS", "6"))
#: A round of these takes longer, and much of it is like the others'.
FEWER = (
    {"leave": min(POINTS, 1), "mend": min(POINTS, 3), "evict": min(POINTS, 2)}
    if "LIBRARIAN_POINTS" not in os.environ
    else {}
)
SEED = int(os.environ.get("LIBRARIAN_SEED", "0")) or int.from_bytes(os.urandom(4), "big")
#: Intake looks again soon; nothing here waits for a period.
CHANGED = {
    "# walk_every_s = 60.0": "walk_every_s = 1.0",
    "# heads_every_s = 30.0": "heads_every_s = 2.0",
    # One other instance is enough, and nothing waits in trash.
    '# trash = "7d"': 'trash = "0s"',
    "#     keep = {instances = 2, domains = 2}": "keep = {instances = 1, domains = 1}",
}

pytestmark = pytest.mark.timeout(min(120 + 15 * POINTS, 8 * 3600))


def some_of(points: Sequence[Point], number: int) -> list[Point]:
    """Of each kind of call as many as of another, though a catalog writes far more often than anything is renamed."""
    chance = random.Random(SEED)
    by_call = {call: [point for point in points if point.call == call] for call in {point.call for point in points}}
    for several in by_call.values():
        chance.shuffle(several)
    chosen: list[Point] = []
    while len(chosen) < number:
        call = chance.choice(sorted(call for call, several in by_call.items() if several))
        chosen.append(by_call[call].pop())
    return chosen


@pytest.mark.fault(1, 2, 3)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_rows_01_and_02_killed_at_a_system_call_nothing_is_lost_and_nothing_is_there_twice(
    tmp_path: Path, operation: str
) -> None:
    out = os.environ.get("LIBRARIAN_OUT")
    with pair(tmp_path, changed=CHANGED) as both:
        sweep = Sweep(both, tmp_path)
        points = sweep.points(operation)
        assert len(points) > 10, "the trace shows what the daemon does"
        number = FEWER.get(operation, POINTS)
        chosen = points if len(points) <= number else some_of(points, number)
        killed = 0
        for at, point in enumerate(chosen, 1):
            sys.stderr.write(f"{at}/{len(chosen)} seed {SEED}: {point}\n")
            struck = sweep.strike(point)
            killed += struck.killed
            if out:
                with Path(out).open("ab") as file:
                    file.write(msgspec.json.encode(struck) + b"\n")
        sweep.assert_whole()
        assert killed, f"seed {SEED}: no point was met"
