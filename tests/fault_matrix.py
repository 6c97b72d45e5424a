"""The fault matrix: which tests are about which row, what came of them last, and the table in docs/reliability.md.

    python -m tests.fault_matrix            write the table from the tests and their last results
    python -m tests.fault_matrix --check    only compare

``scripts/fault-matrix`` runs the tests first. A test says with ``@pytest.mark.fault(7)`` which rows it is about.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reliability.md"
RESULTS = ROOT / "benchmarks" / "results" / "fault-matrix.json"
BEGIN = "<!-- fault matrix: written by scripts/fault-matrix from the tests -->\n"
END = "<!-- end of the fault matrix -->\n"

#: The fault, and what is expected. N: nothing that was accepted is lost. Rows of later features are not here yet.
ROWS: dict[int, tuple[str, str]] = {
    1: ("SIGKILL at a system call of intake", "N; the restart finishes or rolls back; no file twice"),
    2: ("SIGKILL at a system call of pull, verification, registration, callback", "N; nothing claimed without bytes"),
    3: (
        "SIGKILL at a system call of giving up",
        "enough good instances are left; given up once; trash is empty",
    ),
    5: ("power cut at any moment", "N; what is claimed is so; the bus keeps what it acknowledged"),
    6: ("torn write in a store, in staging", "found by its digest, pulled again or suspected; never served"),
    7: ("no space: drop, store, staging, catalog, bus", "intake or transfer pauses, says why, goes on by itself"),
    8: ("no inodes", "as 7, told apart from no space"),
    9: (
        "EIO on read",
        "the instance is suspected, not served, healed when it is right again; a drop is set aside whole",
    ),
    10: ("EIO on fsync", "nothing accepted; never tried again on the same descriptor; goes on by itself"),
    11: ("a filesystem turns read-only", "intake stops and says so; serving goes on"),
    12: ("bytes of a store rot", "found by the next pass; mended in place while others read; told once"),
    13: ("the last instance rots", "kept and alarmed, never given up; good members of a book are served"),
    14: ("many bad instances at once", "no automatic action beyond a limit; one incident"),
    15: ("link cut", "the backlog waits on disk; catches up; each file once"),
    16: ("slow, flapping, half-open link", "transfers resume by range; everything arrives"),
    17: ("bus server killed, stopped, restarted", "reconnects; nothing lost"),
    18: ("bus with unsafe settings", "an incident until it is put right; amnesia healed"),
    19: ("stream purged, deleted, its directory lost", "made anew and filled from the journal"),
    20: ("a block of the stream flipped or cut off", "the gap is noticed and fetched"),
    21: ("two bus servers tell different stories", "heads differ; what is missing is fetched"),
    22: ("catalog lost", "made up from stores, manifests and other sites"),
    23: ("catalog restored from an old backup", "quarantine, then as before; no number used twice"),
    24: ("store restored from an old snapshot", "what is missing is found and said; nobody deletes anything"),
    25: ("two daemons on one state, one store", "the second refuses"),
    26: ("wall clock years off", "no change in what is safe; what depends on time says so"),
    27: ("duplicate, reordered, late entries", "the same tables"),
    28: ("malicious messages", "refused, counted, an incident; reading goes on"),
    29: ("a message that breaks its reader", "passed over or parked; others flow; an incident"),
    30: ("names that lead out or cannot be", "refused at intake; the rule is named"),
    31: ("links, pipes, devices in a drop; a link swapped in", "refused whole; never followed; nothing hangs"),
    32: ("newlines, control characters, invalid UTF-8, long names", "refused with the rule, or kept to the byte"),
    33: ("names that differ in letter case", "refused at intake, or a conflict where the filesystem folds"),
    34: ("a book of a million members, a million files", "bounded memory; progress"),
    35: ("written to while it is ingested", "not accepted before it is quiet; says so"),
    36: ("vanishes, or is replaced, while it is read", "forgotten or begun anew; nothing wrong is accepted"),
    37: ("second link, sparse, empty", "copied, kept, legal"),
    38: ("one name at two sites", "same bytes are one file; others a conflict, both kept"),
    39: ("several sites give up at once", "enough good instances are left at every moment"),
    45: ("slow headers, idle connections, endless bodies, huge headers", "cut off in seconds; others are served"),
    49: ("few descriptors, little memory", "work goes on; it is said"),
    50: ("PostgreSQL restarted, in the middle of commits", "N; goes on by itself; audit clean"),
    51: ("mixed versions", "unknown kinds are kept and applied after the upgrade"),
}


class Results(msgspec.Struct, kw_only=True):
    """What came of the tests when they ran last."""

    commit: str
    date: str
    #: By test: ``passed``, ``failed``, or ``skipped``.
    outcomes: dict[str, str]


class Test(msgspec.Struct, frozen=True, order=True):
    """A test function that is about rows of the matrix."""

    path: str
    name: str
    rows: tuple[int, ...]


def tests() -> list[Test]:
    """All of them, read from the files' text."""
    return sorted(found for path in (ROOT / "tests").rglob("test_*.py") for found in _in_file(path))


def _in_file(path: Path) -> Iterator[Test]:
    where = str(path.relative_to(ROOT))
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            rows = tuple(sorted({row for mark in node.decorator_list for row in _rows(mark)}))
            if rows:
                yield Test(where, node.name, rows)


def _rows(mark: ast.expr) -> list[int]:
    if not (isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.fault"):
        return []
    return [int(ast.literal_eval(argument)) for argument in mark.args]


def table() -> str:
    """The table, in Markdown."""
    results = msgspec.json.decode(RESULTS.read_bytes(), type=Results) if RESULTS.exists() else None
    when = f"Last run of all of them: {results.date}, commit {results.commit}." if results else "Not run yet."
    lines = [when, "", "| # | fault | expected | how tested | last result |", "|---|---|---|---|---|"]
    everything = tests()
    for row, (fault, expected) in ROWS.items():
        about = [test for test in everything if row in test.rows]
        how = "<br>".join(f"[`{test.name}`](../{test.path})" for test in about)
        lines.append(f"| {row} | {fault} | {expected} | {how} | {_last(about, results)} |")
    return "\n".join(lines) + "\n"


def _last(about: list[Test], results: Results | None) -> str:
    if results is None:
        return "-"
    outcomes = [
        outcome
        for known in about
        for test, outcome in results.outcomes.items()
        if test.partition("[")[0] == f"{known.path}::{known.name}"
    ]
    counted = {word: outcomes.count(word) for word in ("passed", "failed", "skipped")}
    return ", ".join(f"{number} {word}" for word, number in counted.items() if number) or "not run"


def problems() -> list[str]:
    """Rows without a test, and tests about rows that do not exist."""
    found = tests()
    about = {row for test in found for row in test.rows}
    missing = [f"row {row} has no test" for row in sorted(ROWS.keys() - about)]
    return missing + [f"row {row} is not in the matrix" for row in sorted(about - ROWS.keys())]


def main() -> int:
    """Write the table, or compare."""
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    wanted = before + BEGIN + "\n" + table() + "\n" + END + after
    found = problems()
    for line in found:
        sys.stderr.write(f"fault matrix: {line}\n")
    if "--check" in sys.argv[1:]:
        if wanted != text:
            sys.stderr.write("docs/reliability.md differs: run `python -m tests.fault_matrix`\n")
        return 1 if found or wanted != text else 0
    PAGE.write_text(wanted)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
