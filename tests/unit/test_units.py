"""The systemd units, by systemd's own tools."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from tests.support.programs import needs

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"


def analyze(*arguments: str) -> str:
    """What the tool says."""
    needs("systemd-analyze")
    command = ["systemd-analyze", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


@pytest.mark.parametrize("unit", ["lbd.service", "lbd-audit.service"])
def test_little_is_exposed(unit: str) -> None:
    """At most 2.0 of 10."""
    found = re.search(r"exposure level for \S+: ([0-9.]+)", analyze("security", "--offline=true", str(UNITS / unit)))
    assert found is not None
    assert float(found[1]) <= 2.0


@pytest.mark.parametrize("unit", sorted(path.name for path in UNITS.glob("lbd*")))
def test_units_are_well_formed(unit: str) -> None:
    """That the program is not installed here is all that is wrong."""
    said = [line for line in analyze("verify", str(UNITS / unit)).splitlines() if "/opt/librarian" not in line]
    assert said == []
