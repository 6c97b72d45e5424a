"""Runs seeds that come by stdin, the seeds of a line in one fork; a line of JSON for each on stdout."""

from __future__ import annotations

import gc
import os
import sys

import msgspec
from tests.simulation.main import forked
from tests.simulation.run import Run, plan

kept: list[Run] = []


def main() -> None:
    sites, files = int(sys.argv[1]), int(sys.argv[2])
    _warm()
    for line in sys.stdin:
        results = forked([plan(int(seed), sites, files) for seed in line.split()])
        sys.stdout.buffer.write(msgspec.json.encode(results) + b"\n")
        sys.stdout.buffer.flush()
    os._exit(0)


def _warm() -> None:
    """Have every statement compiled before the forks: a whole run, of which nothing is ever finalised."""
    kept.append(warming := Run(plan(1, 3, 30)))
    warming.run()
    gc.collect()
    gc.freeze()
    gc.disable()


if __name__ == "__main__":
    main()
