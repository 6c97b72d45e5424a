"""The command line of the search: every mesh, then every rule taken away, each with what came of it."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from functools import partial
from pathlib import Path

import msgspec
from tests.evictions.mesh import Mesh
from tests.evictions.meshes import LARGE, NAMED, OPEN, SMALL
from tests.evictions.search import Searched, search
from tests.evictions.steps import NAMES
from tests.evictions.variants import VARIANTS, Variant

MOST = 2_000_000


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of one search."""

    #: The rule that was taken away; "" for the machine itself.
    rule: str
    mesh: str
    states: int
    transitions: int
    whole: bool
    broken: str
    expected: str
    trace: tuple[str, ...]
    cpu_s: float

    @property
    def is_right(self) -> bool:
        """As expected. A search that was cut short and found nothing is no proof, and is said to be cut."""
        return self.broken == self.expected


def of_mesh(mesh: Mesh, most: int) -> Line:
    """The machine itself: nothing may be broken, but what is known to be open."""
    began = time.process_time()
    return _line("", search(mesh, most=most), NAMES if mesh in OPEN else "", began)


def of_variant(variant: Variant, most: int) -> Line:
    """The machine without a rule: what is named must be found."""
    began = time.process_time()
    mesh = NAMED[variant.mesh]
    found = search(mesh, variant.machine, variant.order, most=most, only=variant.breaks, forgets=variant.forgets)
    return _line(variant.rule, found, variant.breaks, began)


def _of(job: tuple[str, str], most: int) -> Line:
    """By a mesh's name, or by a rule: what is bad does not go from process to process."""
    mesh, rule = job
    if mesh:
        return of_mesh(NAMED[mesh], most)
    return of_variant(next(variant for variant in VARIANTS if variant.rule == rule), most)


def _line(rule: str, found: Searched, expected: str, began: float) -> Line:
    return Line(
        rule=rule,
        mesh=found.mesh,
        states=found.states,
        transitions=found.transitions,
        whole=not found.cut,
        broken=found.broken,
        expected=expected,
        trace=found.trace,
        cpu_s=round(time.process_time() - began, 1),
    )


def _say(line: Line) -> None:
    what = f"without: {line.rule} ({line.mesh})" if line.rule else line.mesh
    came = line.broken or ("nothing broken" if line.whole else "nothing broken so far, CUT SHORT")
    mark = "" if line.is_right else "  UNEXPECTED"
    sys.stdout.write(
        f"{line.states:>10,} states {line.transitions:>12,} steps {line.cpu_s:>7} s  {what}: {came}{mark}\n"
    )
    if line.broken:
        sys.stdout.write("".join(f"{'':>14}{step}\n" for step in line.trace))
    sys.stdout.flush()


def main() -> int:
    """Exit 1 where anything came out otherwise than expected."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=MOST, help="states of a mesh after which it is cut short")
    parser.add_argument("--mesh", action="append", choices=sorted(NAMED), help="only this one, and no rule taken away")
    parser.add_argument("--out", type=Path, help="a file for one line of JSON each")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    args = parser.parse_args()
    jobs = [(mesh.name, "") for mesh in SMALL + LARGE + OPEN if not args.mesh or mesh.name in args.mesh]
    jobs += [("", variant.rule) for variant in VARIANTS if not args.mesh]
    lines: list[Line] = []
    with multiprocessing.Pool(args.workers) as pool:
        for line in pool.imap(partial(_of, most=args.most), jobs):
            lines.append(line)
            _say(line)
            if args.out:
                with args.out.open("ab") as out:
                    out.write(msgspec.json.encode(line) + b"\n")
    wrong = sum(not line.is_right for line in lines)
    cut = sum(not line.whole for line in lines)
    states, steps = sum(line.states for line in lines), sum(line.transitions for line in lines)
    sys.stdout.write(
        f"{len(lines) - wrong} searches passed, {f'{wrong} failed, ' if wrong else ''}{cut} cut short:"
        f" {states:,} states, {steps:,} steps\n"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
