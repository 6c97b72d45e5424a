"""The example of docs/adapters/writing.md, installed as what it is: a separate package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

EXAMPLE = Path(__file__).parents[2] / "docs" / "adapters" / "example"


def installed(target: Path) -> Path:
    """Install it into a directory of its own, to be put on the path.

    Built by the locked backend, without pip: that is not in every environment, and would fetch another backend.
    """
    wheels = target / "wheels"
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(wheels)]
    subprocess.run(command, cwd=EXAMPLE, check=True, capture_output=True, timeout=60)
    (wheel,) = wheels.glob("*.whl")
    with ZipFile(wheel) as archive:
        archive.extractall(target)
    return target
