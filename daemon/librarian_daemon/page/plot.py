"""A plot as the points of SVG lines. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

WIDTH = 600
HEIGHT = 120


class Plot(msgspec.Struct, frozen=True, kw_only=True):
    """Lines in a box of ``WIDTH`` by ``HEIGHT``; ``top`` is the value at the upper edge."""

    lines: list[str]
    top: float


def plot(series: Sequence[Sequence[float]], samples: int) -> Plot:
    """The points of each series, the newest value at the right edge, room for ``samples`` of them.

    All share one scale, from 0 to the largest value; if there is no traffic, the lines are at the lower edge.
    """
    top = max((value for values in series for value in values), default=0.0)
    step = WIDTH / max(samples - 1, 1)
    return Plot(lines=[_points(values[-samples:], step, top) for values in series], top=top)


def _points(values: Sequence[float], step: float, top: float) -> str:
    begin = WIDTH - step * (len(values) - 1)
    scale = HEIGHT / top if top > 0 else 0.0
    return " ".join(f"{begin + step * at:.1f},{HEIGHT - value * scale:.1f}" for at, value in enumerate(values))
