"""The example of docs/adapters/writing.md, installed as what it is: a separate package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "docs" / "adapters" / "example"


def installed(target: Path) -> Path:
    """Install it into a directory of its own, to be put on the path."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*command, "--target", str(target), str(EXAMPLE)], check=True, timeout=110)
    return target
