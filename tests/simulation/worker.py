"""Runs seeds that come by stdin, the seeds of a line in one fork; a line of JSON for each on stdout."""

from __future__ import annotations

import gc
import os
import sys
from functools import lru_cache
from typing import Any

import msgspec
import nacl.bindings
from tests.simulation.main import forked
from tests.simulation.run import Run, plan

kept: list[Run] = []


def main() -> None:
    sites, files = int(sys.argv[1]), int(sys.argv[2])
    _remember_signatures()
    _warm()
    for line in sys.stdin:
        results = forked([plan(int(seed), sites, files) for seed in line.split()])
        sys.stdout.buffer.write(msgspec.json.encode(results) + b"\n")
        sys.stdout.buffer.flush()
    os._exit(0)


def _remember_signatures() -> None:
    """Every site checks every segment: libsodium is asked once, and refuses as often as it is asked."""
    bindings: Any = nacl.bindings
    bindings.crypto_sign_open = lru_cache(8192)(bindings.crypto_sign_open)


def _warm() -> None:
    """Have every statement compiled before the forks: a whole run, of which nothing is ever finalised."""
    kept.append(warming := Run(plan(1, 3, 30)))
    warming.run()
    gc.collect()
    gc.freeze()
    gc.disable()


if __name__ == "__main__":
    main()
