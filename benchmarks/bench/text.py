"""How figures are written, on the page and in a table."""

from __future__ import annotations

from collections.abc import Mapping


def number(each: float) -> str:
    """Three digits or more, none of them idle."""
    return f"{each:,.0f}" if abs(each) >= 100 else f"{each:.3g}"


def named(numbers: Mapping[str, float]) -> str:
    """Such as ``summit 1.43, archive 1.65``."""
    return ", ".join(f"{name} {number(each)}" for name, each in numbers.items())
