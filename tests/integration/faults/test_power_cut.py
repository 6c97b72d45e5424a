"""Power cuts below catalog, store, journal and bus server together (row 5).

A few a run; ``scripts/powercut`` makes 200. ``LIBRARIAN_CUTS`` is their number, ``LIBRARIAN_SEED`` repeats a run's
choices, ``LIBRARIAN_OUT`` keeps what came of each.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec
import pytest
from tests.support.powercut import Cuts, rig
from tests.support.sites import pair

CUTS = int(os.environ.get("LIBRARIAN_CUTS", "3"))
SEED = int(os.environ.get("LIBRARIAN_SEED", "0")) or int.from_bytes(os.urandom(4), "big")
#: Then two new sites on a new one: what is looked at after each cut stays small.
ON_ONE_DISK = 20
CHANGED = {
    "# walk_every_s = 60.0": "walk_every_s = 1.0",
    "# heads_every_s = 30.0": "heads_every_s = 2.0",
}

pytestmark = pytest.mark.timeout(min(120 + 40 * CUTS, 8 * 3600))


@pytest.mark.fault(5)
def test_row_05_after_a_power_cut_what_was_accepted_stands_and_what_is_claimed_is_so(tmp_path: Path) -> None:
    for begin in range(0, CUTS, ON_ONE_DISK):
        root = tmp_path / str(begin)
        root.mkdir()
        cut_again_and_again(root, min(ON_ONE_DISK, CUTS - begin), SEED + begin)


def cut_again_and_again(root: Path, number: int, seed: int) -> None:
    out = os.environ.get("LIBRARIAN_OUT")
    with rig(root) as disk, pair(disk.place, changed=CHANGED) as both:
        cuts = Cuts(both, disk, seed)
        for _ in range(number):
            cut = cuts.once()
            sys.stderr.write(f"seed {seed}: {cut}\n")
            if out:
                with Path(out).open("ab") as file:
                    file.write(msgspec.json.encode(cut) + b"\n")
        both.assert_whole()
