"""Turns A B A B, a warm-up before them, and what comes of them: medians, spreads, ratios."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from benchmarks.bench.row import Bench, Figure, Setting, Turn, Turns, Variant

#: Called with a line of progress.
Say = Callable[[str], None]


async def measure(bench: Bench, setting: Setting, rounds: int, say: Say) -> tuple[Sequence[Variant], Turns]:
    """All variants in turn, ``rounds`` times, after one round that is not kept.

    Before each turn everything dirty on the scratch filesystem is written, so that nobody pays for another.
    """
    async with bench.open(setting) as variants:
        kept: dict[str, list[Turn]] = {variant.name: [] for variant in variants if variant.run is not None}
        for number in range(-1, rounds):  # -1: the warm-up
            for variant in variants:
                if variant.run is None:
                    continue
                if bench.keep_second:
                    setting.scratch.settle()
                    await variant.run()
                setting.scratch.settle()
                turn = await variant.run()
                what = "warm-up" if number < 0 else f"round {number + 1}"
                say(f"{bench.name}, {what}, {variant.name}: {turn.rate:,.1f} {bench.unit}/s")
                if number >= 0:
                    kept[variant.name].append(turn)
    return variants, kept


async def count(bench: Bench, setting: Setting) -> dict[str, Mapping[str, float]]:
    """Counts for each unit of the amount, by variant: of one turn that is not timed, after one that is not kept."""
    counts: dict[str, Mapping[str, float]] = {}
    async with bench.open(replace(setting, count=True)) as variants:
        for variant in variants:
            if variant.run is not None:
                await variant.run()
                counts[variant.name] = (await variant.run()).counts
    return {name: found for name, found in counts.items() if found}


def ratio(name: str, turns: Turns, ours: str, theirs: str, target: str = "") -> Figure:
    """How many times the rate of the other: of the medians; the spread is of the rounds."""
    mine, others = turns.get(ours, ()), turns.get(theirs, ())
    if not mine or not others:
        return Figure(name=name, unit="×", median=None, target=target)
    each = [one.rate / other.rate for one, other in zip(mine, others, strict=True)]
    of_medians = statistics.median(turn.rate for turn in mine) / statistics.median(turn.rate for turn in others)
    return Figure(name=name, unit="×", median=of_medians, least=min(each), most=max(each), target=target)


def value(
    name: str, unit: str, turns: Turns, variant: str, of: Callable[[Turn], float | None], target: str = ""
) -> Figure:
    """A figure of one variant; None of a turn is left out."""
    found = [number for turn in turns.get(variant, ()) if (number := of(turn)) is not None]
    if not found:
        return Figure(name=name, unit=unit, median=None, target=target)
    median = statistics.median(found)
    return Figure(name=name, unit=unit, median=median, least=min(found), most=max(found), target=target)


def cpu(turn: Turn) -> float:
    """Seconds of processor of all processes."""
    return sum(turn.cpu_seconds.values())


def percentile(samples: Sequence[float], percent: float) -> float:
    """The least sample that ``percent`` of them do not exceed."""
    ordered = sorted(samples)
    return ordered[max(0, -int(-len(ordered) * percent // 100) - 1)]
