"""Programs that tests cannot run without: a test that lacks one is skipped, and the end of the run says so.

tests/programs.txt lists them, for .ci/run too.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

_LIST = Path(__file__).parents[1] / "programs.txt"
_REASON = "missing programs: "


def packages() -> dict[str, str]:
    """The Debian package of every program."""
    lines = (line.split() for line in _LIST.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    return {words[0]: words[1] for words in lines}


def needs(*programs: str) -> None:
    """Skip the test where any of them is not installed; all that is missing is named.

    Raises ``KeyError`` for a program that is not in the list, so that CI installs what a test asks for.
    """
    listed = packages()
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    wanted = {program: listed[program] for program in programs}
    missing = {program: package for program, package in wanted.items() if shutil.which(program, path=path) is None}
    if missing:
        pytest.skip(f"{_REASON}{', '.join(missing)} (Debian: {' '.join(dict.fromkeys(missing.values()))})")


def summary(skipped: Iterable[pytest.TestReport]) -> list[str]:
    """How many tests were skipped for want of which programs, and what would install them; nothing where none was."""
    tests = 0
    counts: Counter[str] = Counter()
    for report in skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        if found := re.search(rf"{_REASON}(.*) \(Debian", reason):
            tests += 1
            counts.update(found[1].split(", "))
    if not tests:
        return []
    listed = packages()
    return [
        f"{tests} tests were skipped: programs are missing. With these they run:",
        *(f"{count:5}  {program}" for program, count in counts.most_common()),
        f"Debian: apt install {' '.join(sorted({listed[program] for program in counts}))}",
    ]
