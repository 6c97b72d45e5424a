"""Programs of this package that do the work of a turn in a process of their own: CPU and memory are theirs alone."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


async def child(module: str, *arguments: object) -> dict[str, float]:
    """Run ``benchmarks.bench.MODULE``; the figures that it printed.

    Raises ``RuntimeError`` where it fails.
    """
    command = [sys.executable, "-m", f"benchmarks.bench.{module}", *(str(argument) for argument in arguments)]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    printed, said = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit {process.returncode}: {said.decode()[-2000:]}")
    return {name: float(number) for name, number in json.loads(printed.splitlines()[-1]).items()}
