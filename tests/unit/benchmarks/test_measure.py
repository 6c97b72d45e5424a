"""Turns come in the order that makes ratios honest, and figures are what they say."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from benchmarks.bench.measure import count, measure, percentile, ratio, value
from benchmarks.bench.row import Bench, Setting, Turn, Variant
from benchmarks.bench.scratch import Scratch


def bench_of(rates: dict[str, list[float]], took: list[str], *, keep_second: bool = False, absent: str = "") -> Bench:
    """Variants whose turns take the given rates one after the other."""

    def turn(name: str) -> Callable[[], Awaitable[Turn]]:
        left = iter(rates[name])

        async def run() -> Turn:
            took.append(name)
            return Turn(seconds=1.0, amount=next(left), counts={"syncs": float(took.count(name))})

        return run

    @asynccontextmanager
    async def opened(_: Setting) -> AsyncGenerator[Sequence[Variant]]:
        variants = [Variant(name=name, run=turn(name)) for name in rates]
        yield [*variants, Variant(name="none", run=None, absent=absent)]
        took.append("closed")

    return Bench(name="some", unit="files", method="", open=opened, keep_second=keep_second)


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(scratch=Scratch(path=tmp_path, filesystem="a directory", own=False))


async def test_variants_take_turns_and_the_first_round_is_not_kept(setting: Setting) -> None:
    took: list[str] = []
    bench = bench_of({"a": [1.0, 10.0, 12.0], "b": [1.0, 5.0, 4.0]}, took)
    variants, turns = await measure(bench, setting, 2, lambda _: None)
    assert took == ["a", "b"] * 3 + ["closed"]
    assert {name: [turn.rate for turn in found] for name, found in turns.items()} == {
        "a": [10.0, 12.0],
        "b": [5.0, 4.0],
    }
    assert [variant.name for variant in variants] == ["a", "b", "none"]


async def test_of_two_turns_back_to_back_the_second_is_kept(setting: Setting) -> None:
    took: list[str] = []
    bench = bench_of({"a": [1.0, 2.0, 3.0, 40.0]}, took, keep_second=True)
    _, turns = await measure(bench, setting, 1, lambda _: None)
    assert [turn.rate for turn in turns["a"]] == [40.0]


async def test_events_are_counted_in_a_turn_of_its_own(tmp_path: Path) -> None:
    took: list[str] = []
    bench = bench_of({"a": [1.0, 2.0, 3.0]}, took)
    scratch = Scratch(path=tmp_path, filesystem="a directory", own=False)
    assert await count(bench, Setting(scratch=scratch)) == {"a": {"syncs": 2.0}}


def rated(*rates: float) -> list[Turn]:
    return [Turn(seconds=2.0, amount=2.0 * rate) for rate in rates]


def test_a_ratio_is_of_medians_and_its_spread_of_the_rounds() -> None:
    figure = ratio("rate", {"a": rated(10, 30, 20), "b": rated(5, 10, 20)}, "a", "b", "≥ 2")
    assert (figure.median, figure.least, figure.most, figure.target) == (2.0, 1.0, 3.0, "≥ 2")


def test_there_is_no_ratio_to_what_was_not_run() -> None:
    assert ratio("rate", {"a": rated(10)}, "a", "b").median is None
    assert value("p99", "ms", {}, "a", lambda turn: turn.rate).median is None


@pytest.mark.parametrize(("percent", "found"), [(50, 2.0), (75, 3.0), (99, 4.0), (100, 4.0), (0, 1.0)])
def test_a_percentile_is_a_sample(percent: float, found: float) -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], percent) == found
