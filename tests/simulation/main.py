"""The command line of the simulator: many seeds in processes of their own, a summary that anybody can read."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import msgspec
from tests.simulation.mutations import MUTATIONS, Mutation
from tests.simulation.run import Plan, Result, Run, plan

#: Seeds to a fork.
AT_ONCE = 5
KEPT = Path(__file__).parent / "seeds.txt"


def say(*texts: object) -> None:
    """A line on stdout."""
    sys.stdout.write(" ".join(map(str, texts)) + "\n")
    sys.stdout.flush()


def forked(wanted: Sequence[Plan], mutation: Mutation | None = None) -> list[Result]:
    """Runs in a process of their own, which ends without finalising anything."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - the process ends with it
            if mutation is not None:
                mutation.apply()
            runs = [Run(plan) for plan in wanted]
            with os.fdopen(writing, "wb") as out:
                out.write(msgspec.json.encode([run.run() for run in runs]))
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        told = answer.read()
    os.waitpid(child, 0)
    if not told:
        return [
            Result(
                seed=plan.seed,
                violations=["the simulation itself broke"],
                trace="",
                steps=0,
                virtual_s=0,
                faults={},
                checks={},
                last=[],
            )
            for plan in wanted
        ]
    return msgspec.json.decode(told, type=list[Result])


def shrunk(wanted: Plan) -> Plan:
    """A smaller plan that fails too: items of it are left out one after the other."""
    best = wanted
    for field in ("crashes", "giving_up", "cuts", "freezes", "bus", "full", "restores"):
        items = list(getattr(best, field))
        for item in list(items):
            fewer = [other for other in items if other is not item]
            smaller = msgspec.structs.replace(best, **{field: fewer})
            if forked([smaller])[0].violations:
                items, best = fewer, smaller
    return best


def batches(seeds: Sequence[int], sites: int, files: int, workers: int) -> Iterator[Result]:
    """The results, in the order of the seeds.

    Each worker is one process that forks for some seeds at a time: imports, schema and statements are made once, and a
    fork pays for each page of memory that it touches first.
    """
    idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
    command = [sys.executable, "-m", "tests.simulation.worker", str(sites), str(files)]
    running = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(workers)]
    for process in running:
        idle.put(process)

    def some(seeds: Sequence[int]) -> list[Result]:
        process = idle.get()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{' '.join(map(str, seeds))}\n".encode())
        process.stdin.flush()
        line = process.stdout.readline()
        idle.put(process)
        return msgspec.json.decode(line, type=list[Result])

    groups = [seeds[first : first + AT_ONCE] for first in range(0, len(seeds), AT_ONCE)]
    with ThreadPoolExecutor(workers) as threads:
        for results in threads.map(some, groups):
            yield from results
    for process in running:
        process.communicate()


def main(arguments: Sequence[str] | None = None) -> int:
    """See ``scripts/simulate``."""
    parser = argparse.ArgumentParser(prog="scripts/simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many")
    parser.add_argument("--seed", type=int, help="only this one, with the end of its trace")
    parser.add_argument("--from", dest="first", type=int, default=1, help="the first seed")
    parser.add_argument("--sites", type=int, default=3)
    parser.add_argument("--files", type=int, default=30)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--mutations", action="store_true", help="take guards away, and see each of them missed")
    parser.add_argument("--mutation", type=int, metavar="N", help="only the one of this number")
    parser.add_argument("--out", type=Path, help="write each run's result there, a line of JSON each")
    parser.add_argument("--resume", action="store_true", help="leave out the seeds that stand in --out already")
    wanted = parser.parse_args(arguments)
    if wanted.mutations or wanted.mutation is not None:
        number: int | None = wanted.mutation
        chosen: Sequence[Mutation] = MUTATIONS if number is None else [MUTATIONS[number]]
        return prove(chosen, wanted.seeds, wanted.sites, wanted.files)
    if wanted.seed is not None:
        return _one(plan(wanted.seed, wanted.sites, wanted.files))
    began = time.monotonic()
    results = _ran(wanted.out) if wanted.resume else []
    ran = {result.seed for result in results}
    seeds = [seed for seed in range(wanted.first, wanted.first + wanted.seeds) if seed not in ran]
    commit = _commit()
    with open(wanted.out or os.devnull, "a" if wanted.resume else "w") as out:
        for result in batches(seeds, wanted.sites, wanted.files, wanted.workers):
            results.append(result)
            out.write(json.dumps({"commit": commit, **msgspec.to_builtins(result)}) + "\n")
            out.flush()
            for violation in result.violations:
                say(f"seed {result.seed}: {violation}")
            if len(results) % 100 == 0:
                sys.stderr.write(f"{len(results)} of {wanted.seeds} seeds, {time.monotonic() - began:.0f} s\n")
    say(summary(results, wanted.sites, wanted.files, time.monotonic() - began))
    return 1 if any(result.violations for result in results) or len(results) != wanted.seeds else 0


def _ran(out: Path | None) -> list[Result]:
    """Results of an earlier run that was broken off."""
    if out is None or not out.exists():
        return []
    return [msgspec.json.decode(line, type=Result) for line in out.read_bytes().splitlines()]


def _commit() -> str:
    """What runs, as git calls it."""
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _one(wanted: Plan) -> int:
    (result,) = forked([wanted])
    say(json.dumps(json.loads(msgspec.json.encode(wanted))))
    for line in result.last:
        say(line)
    for violation in result.violations:
        say(violation)
    if result.violations:
        say("shrunk:", json.dumps(json.loads(msgspec.json.encode(shrunk(wanted)))))
    say(f"trace {result.trace}, {result.steps:,} wake-ups, {result.virtual_s:,.0f} s of virtual time")
    return 1 if result.violations else 0


def prove(mutations: Sequence[Mutation], seeds: int, sites: int, files: int) -> int:
    """Each mutation against up to so many seeds; by which rule it was caught, and at which seed."""
    missed = 0
    for mutation in mutations:
        caught = caught_by(mutation, seeds, sites, files)
        missed += caught is None
        say(f"{'MISSED' if caught is None else f'seed {caught[0]:3}'}  {mutation.name}: {caught[1] if caught else ''}")
    say(f"{len(mutations) - missed} of {len(mutations)} mutations caught, each within {seeds} seeds")
    return 1 if missed else 0


def caught_by(mutation: Mutation, seeds: int, sites: int, files: int) -> tuple[int, str] | None:
    """The first seed that sees it for what it is, and as what; None where none does."""
    mutation.text()
    for seed in range(mutation.from_seed, mutation.from_seed + seeds):
        for violation in forked([plan(seed, sites, files)], mutation)[0].violations:
            if violation.startswith(mutation.catches):
                return seed, violation[:150]
    return None


def summary(results: Sequence[Result], sites: int, files: int, took_s: float) -> str:
    """For people."""
    faults, checks = Counter[str](), Counter[str]()
    for result in results:
        faults.update(result.faults)
        checks.update(result.checks)
    broken = sum(bool(result.violations) for result in results)
    hours = sum(result.virtual_s for result in results) / 3600
    lines = [
        f"{len(results)} seeds, {sites} sites, {files} files each: {broken} with a broken rule; {took_s:.0f} s,"
        f" {sum(result.steps for result in results):,} wake-ups, {hours:.1f} hours of the sites' time",
        "faults played:",
        *(f"  {number:7,}  {what}" for what, number in sorted(faults.items(), key=lambda pair: (-pair[1], pair[0]))),
        "rules checked:",
        *(f"  {number:9,}  {what}" for what, number in sorted(checks.items())),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
