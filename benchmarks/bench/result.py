"""A row's result: as JSON, which is kept, and as a table, which people read."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.bench.row import Figure, Row, Turn, Turns, Variant
from benchmarks.bench.text import named, number

#: Above this load before a run, somebody else wants a core, and absolute figures say little.
QUIET = 0.7


def result(
    row: Row,
    variants: Sequence[Variant],
    turns: Turns,
    counts: Mapping[str, Mapping[str, float]],
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """What is kept of a row. ``about``: command, commit, date, machine, filesystem, rounds, scale."""
    return {
        "schema": "lb.bench/1",
        "id": row.id,
        "work": row.work,
        "against": row.against,
        "method": row.bench.method,
        "unit": row.bench.unit,
        **about,
        "doubts": doubts(about),
        "figures": [_figure(figure) for figure in row.figures(turns)],
        "variants": [_variant(variant, row.bench.unit, turns.get(variant.name, ())) for variant in variants],
        "counts": {name: {what: _short(each) for what, each in found.items()} for name, found in counts.items()},
    }


def doubts(about: Mapping[str, Any]) -> list[str]:
    """Why these figures are not what the work says, or say little."""
    found: list[str] = []
    if about["scale"] != 1:
        found.append(f"all amounts were scaled by {about['scale']}: not a result")
    if about.get("large_gib"):
        found.append(f"the large files had {about['large_gib']:g} GiB, not what the work says")
    if about["load_before"] > QUIET:
        found.append("others worked on the machine and its disk during the run: compare within it only")
    return found


def _figure(figure: Figure) -> dict[str, Any]:
    return {
        "name": figure.name,
        "unit": figure.unit,
        "median": _short(figure.median),
        "least": _short(figure.least),
        "most": _short(figure.most),
        "target": figure.target,
    }


def _variant(variant: Variant, unit: str, turns: Sequence[Turn]) -> dict[str, Any]:
    if not turns:
        return {"name": variant.name, "recorded": variant.recorded} | (
            {} if variant.recorded else {"absent": variant.absent or "it was not run"}
        )
    return {
        "name": variant.name,
        "unit": f"{unit}/s",
        "rate": _spread(turn.rate for turn in turns),
        "seconds": _spread(turn.seconds for turn in turns),
        "amount": turns[0].amount,
        "cpu_seconds": _each(turns, lambda turn: turn.cpu_seconds),
        "peak_mib": _each(turns, lambda turn: {name: size / (1 << 20) for name, size in turn.peak_bytes.items()}),
        "values": _each(turns, lambda turn: turn.values),
    }


def _each(turns: Sequence[Turn], of: Callable[[Turn], Mapping[str, float]]) -> dict[str, float | None]:
    names = dict.fromkeys(name for turn in turns for name in of(turn))
    return {name: _short(statistics.median(of(turn)[name] for turn in turns if name in of(turn))) for name in names}


def _spread(numbers: Iterable[float]) -> dict[str, float | None]:
    found = list(numbers)
    return {"median": _short(statistics.median(found)), "least": _short(min(found)), "most": _short(max(found))}


def _short(number: float | None) -> float | None:
    """Four digits say more than these figures hold."""
    return None if number is None else float(f"{number:.4g}")


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Results of rows that share one bench, as text."""
    shared = results[0]
    machine = shared["machine"]
    lines: list[str] = []
    for kept in results:
        lines += [f"{kept['id']}: {kept['work']}", f"against: {kept['against']}"]
        lines += _columns([["", "median", "spread", "target"], *(_figure_cells(figure) for figure in kept["figures"])])
        lines += [""]
    lines += [
        *_columns(
            [
                ["variant", "rate", "spread", "seconds", "CPU s", "peak MiB", "values"],
                *(_variant_cells(variant) for variant in shared["variants"]),
            ]
        ),
        "",
        *_wrapped(f"method: {shared['method']}"),
        f"machine: {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['kernel']},"
        f" Python {machine['python']}; {shared['filesystem']}; load before it {shared['load_before']}",
        f"commit {shared['commit'][:12]}{'+' if shared['commit'].endswith('+') else ''}, {shared['date']}; "
        f"{shared['rounds']} rounds; median, and least to most of the rounds",
    ]
    lines += [f"IN DOUBT: {doubt}" for doubt in shared["doubts"]]
    for name, counts in shared["counts"].items():
        lines += ["", f"counted of {name}, for each of the {shared['unit']}, in a turn that is not timed:"]
        lines += _columns([[what, number(each)] for what, each in counts.items()])
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _figure_cells(figure: Mapping[str, Any]) -> list[str]:
    unit = figure["unit"]
    if figure["median"] is None:
        return [figure["name"], "not measured", "", figure["target"]]
    spread = f"{number(figure['least'])} to {number(figure['most'])}" if figure["least"] is not None else ""
    return [figure["name"], f"{number(figure['median'])} {unit}", spread, figure["target"]]


def _variant_cells(variant: Mapping[str, Any]) -> list[str]:
    if "rate" not in variant:
        return [variant["name"], variant.get("recorded") or f"absent: {variant['absent']}", "", "", "", "", ""]
    rate = variant["rate"]
    return [
        variant["name"],
        f"{number(rate['median'])} {variant['unit']}",
        f"{number(rate['least'])} to {number(rate['most'])}",
        number(variant["seconds"]["median"]),
        named(variant["cpu_seconds"]),
        named(variant["peak_mib"]),
        named(variant["values"]),
    ]


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def _wrapped(text: str, width: int = 120) -> list[str]:
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = f"  {word}"
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line]


def keep(kept: Mapping[str, Any], directory: Path) -> None:
    """Write ``bench-ID.json`` and ``bench-ID.txt``."""
    name = f"bench-{kept['id']}"
    (directory / f"{name}.json").write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (directory / f"{name}.txt").write_text(table([kept]), encoding="utf-8")
