"""docs/performance.md: the results that are kept, and what people noted about them (``benchmarks/performance.md``).

The notes have an introduction, then sections. A section whose heading is the ID of a row stands below that row's
figures; the others stand at the end. Their links lead from where the notes are; on the page, from docs/. Only the
standard library is used: the page is written without an installation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.bench.text import named, number

#: The rows of the budgets, in their order, then those of ``sync``; of a row with a suffix, such as S1-20k, the part
#: before it counts.
BUDGETS = (
    *("L1", "L2", "L3", "L4", "S1", "S2", "S3", "S4", "I1", "I2", "E1", "P1"),
    *("D1", "D2", "R1", "R2", "C1", "K1", "M1"),
    *("F1", "F2", "F3"),
)
#: Rows in which these are equal were measured by one run.
_OF_A_RUN = ("command", "commit", "method", "load_before", "variants")
_TARGET = re.compile(r"([≥≤]) ([\d.,]*\d)")


def page(results: Path, notes: str, generated: str) -> str:
    """The page. ``results`` is a directory with ``bench-ID.json``."""
    kept = sorted((json.loads(path.read_text("utf-8")) for path in results.glob("bench-*.json")), key=_place)
    intro, sections = _sections(notes.replace("](../docs/", "]("))
    missing = [budget for budget in BUDGETS if budget not in {row["id"] for row in kept}]
    parts = [
        f"# Performance\n\n{generated}\n{intro}\n",
        "## All rows\n\n" + _summary(kept) + (f"\nNo result yet: {', '.join(missing)}.\n" if missing else ""),
        *(_row(row, first, sections.get(row["id"], "")) for row, first in _with_first(kept)),
        *(f"## {heading}\n\n{text}\n" for heading, text in sections.items() if heading in missing),
        *(f"## {heading}\n\n{text}\n" for heading, text in sections.items() if not _is_row(heading)),
    ]
    return "\n".join(parts)


def _place(row: Mapping[str, Any]) -> tuple[int, int, str]:
    base, _, suffix = row["id"].partition("-")
    return (BUDGETS.index(base) if base in BUDGETS else len(BUDGETS), len(suffix), row["id"])


def _with_first(kept: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], str]]:
    """Each row, and the ID of the first row that the same run measured."""
    first: dict[str, str] = {}
    return [(row, first.setdefault(json.dumps([row[key] for key in _OF_A_RUN]), row["id"])) for row in kept]


def _is_row(heading: str) -> bool:
    return heading.partition("-")[0] in BUDGETS


def _sections(notes: str) -> tuple[str, dict[str, str]]:
    """The introduction, and the sections by their headings."""
    intro, *others = re.split(r"^## ", notes, flags=re.MULTILINE)
    found = (part.partition("\n") for part in others)
    return intro.strip(), {heading.strip(): text.strip() for heading, _, text in found}


def _summary(kept: Sequence[Mapping[str, Any]]) -> str:
    return _table(
        ("row", "work", "figure", "median", "least to most", "target", ""),
        *(
            (f"[{row['id']}](#{row['id'].lower()})", row["work"], *_cells(figure, row))
            for row in kept
            for figure in row["figures"]
            if figure["target"]
        ),
    )


def _cells(figure: Mapping[str, Any], row: Mapping[str, Any]) -> tuple[str, str, str, str, str]:
    doubt = "; in doubt" if row.get("doubts") else ""
    median = figure["median"]
    shown = "not measured" if median is None else f"{number(median)} {figure['unit']}"
    spread = "" if figure["least"] is None else f"{number(figure['least'])} to {number(figure['most'])}"
    return figure["name"], shown, spread, figure["target"], verdict(median, figure["target"]) + doubt


def verdict(median: float | None, target: str) -> str:
    """Whether a figure meets the first number of its target, and else by which factor it misses it."""
    found = _TARGET.search(target)
    if median is None or found is None:
        return ""
    wanted = float(found[2].replace(",", ""))
    least, most = (wanted, median) if found[1] == "≥" else (median, wanted)
    if most >= least:
        return "met"
    return f"misses by {least / most:.2g} ×" if most > 0 else "misses"


def _row(row: Mapping[str, Any], first: str, notes: str) -> str:
    what = f"## {row['id']}\n\n{row['work']}; against {row['against']}."
    figures = _table(
        ("figure", "median", "least to most", "target", ""), *(_cells(each, row) for each in row["figures"])
    )
    said = f"\n{notes}\n" if notes else ""
    if first != row["id"]:
        return f"{what} Method, machine and variants: [{first}](#{first.lower()}), the same run.\n\n{figures}{said}"
    machine = row["machine"]
    about = (
        f"`{row['command']}`, commit `{row['commit'][:12]}`{' with changes' if row['commit'].endswith('+') else ''},"
        f" {row['date']}, {row['rounds']} rounds. {machine['cores']} cores, {machine['memory_gib']} GiB,"
        f" {machine['kernel'].partition('-')[0]}, Python {machine['python']}; {row['filesystem']}; load before it"
        f" {row['load_before']}." + "".join(f" **In doubt: {doubt}.**" for doubt in row.get("doubts", []))
    )
    variants = _table(
        ("variant", "rate", "least to most", "CPU s", "peak MiB", "values"),
        *(_variant(each) for each in row["variants"]),
    )
    counts = "".join(
        f"\nCounted for {name}, in a turn that is not timed: "
        + "; ".join(f"{what} {number(each)}" for what, each in found.items())
        + ".\n"
        for name, found in row.get("counts", {}).items()
    )
    return f"{what} {row['method']}\n\n{about}\n\n{figures}\n{variants}{counts}{said}"


def _variant(variant: Mapping[str, Any]) -> tuple[str, ...]:
    if "rate" not in variant:
        return (variant["name"], variant.get("recorded") or f"absent: {variant['absent']}", "", "", "", "")
    rate = variant["rate"]
    return (
        variant["name"],
        f"{number(rate['median'])} {variant['unit']}",
        f"{number(rate['least'])} to {number(rate['most'])}",
        named(variant["cpu_seconds"]),
        named(variant["peak_mib"]),
        named(variant["values"]),
    )


def _table(*lines: Sequence[str]) -> str:
    header, *rest = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    return "\n".join([header, "|" + "---|" * len(lines[0]), *rest]) + "\n"
