"""What files cost the catalogs of two sites, in steps of SQLite's machine, with so many files there already.

Steps are the same in every run, unlike seconds, and they show a statement that walks a table.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Connection
from tests.simulation.prepared import PreparingConnection, Rows
from tests.simulation.run import QUIET_S, Plan, Run

#: What is dropped at once.
BATCH = 50
IDLE_S = 60.0


class Counting(PreparingConnection):
    """Counts the steps of each statement."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._steps = 0
        self.by_statement: Counter[Any] = Counter()
        self._driver.set_progress_handler(self._step, 1)

    def _step(self) -> int:
        self._steps += 1
        return 0

    def execute(
        self, statement: Any, parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None, **options: Any
    ) -> Any:
        before = self._steps
        found = super().execute(statement, parameters, **options)
        if not isinstance(found, Rows):
            found = Rows(found.all() if found.returns_rows else [], found.rowcount)
        self.by_statement[statement] += self._steps - before
        return found

    def exec_driver_sql(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        before = self._steps
        found = super().exec_driver_sql(sql, parameters)
        self.by_statement[sql] += self._steps - before
        return found


def measured(standing: int, files: int) -> dict[str, dict[str, int]]:
    """Steps by statement: of ``files`` more files where so many are ``standing``, and of a minute without any."""
    run = Run(Plan(seed=1, sites=2, files=0, crashes=[], cuts=[], freezes=[], bus=[], full=[], restores=[], twins=[],
                   robbed=None))  # fmt: skip
    run.world.faults = False
    run.start(scrub_every="30d")  # a pass costs what there is
    for first in range(0, standing, BATCH):
        _drop(run, first, min(BATCH, standing - first))
    run.loop.run_until(lambda: False, run.loop.now_s + IDLE_S)
    return {
        "files": _counted(run, lambda: _drop(run, standing, files)),
        "idle": _counted(run, lambda: run.loop.run_until(lambda: False, run.loop.now_s + IDLE_S)),
    }


def _drop(run: Run, first: int, count: int) -> None:
    site = run.sites[run.world.names[0]]
    for number in range(first, first + count):
        site.dropped[f"d/{number:06}"] = str(number).encode()
    if not run.loop.run_until(run.complete, run.loop.now_s + QUIET_S):
        raise AssertionError(f"not everything arrived: {run.loop.trouble}")


def _counted(run: Run, work: Any) -> dict[str, int]:
    counting = [Counting(site.database.whole) for site in run.sites.values()]
    for site, counted in zip(run.sites.values(), counting, strict=True):
        site.database.connection = cast(Connection, counted)
    work()
    found: Counter[str] = Counter()
    for counted in counting:
        for statement, steps in counted.by_statement.items():
            found[" ".join(str(statement).split())[:200]] += steps
    return dict(found)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measured(int(sys.argv[1]), int(sys.argv[2]))))
    sys.stdout.flush()
    os._exit(0)  # nothing of the sites is finalised
