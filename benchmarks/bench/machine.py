"""What kind of machine it was: enough to judge a figure by, and nothing that names it."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
from pathlib import Path


def machine() -> dict[str, str | int | float]:
    """Cores, memory, kernel, versions."""
    memory_kib = int(next(line for line in _lines("/proc/meminfo") if line.startswith("MemTotal")).split()[1])
    return {
        "cores": os.cpu_count() or 0,
        "processor": _processor(),
        "memory_gib": round(memory_kib / (1 << 20), 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }


def load() -> float:
    """How many others wanted a core in the last minute: above about 0.5 before a run, its figures are in doubt."""
    return round(os.getloadavg()[0], 2)


def commit(root: Path) -> str:
    """The commit whose daemon runs, with ``+`` where its code is not just that."""
    command = ["git", "-C", str(root)]
    head = subprocess.run([*command, "rev-parse", "HEAD"], capture_output=True, text=True)
    if head.returncode != 0:
        return "unknown"
    code = ("protocol", "adapters", "daemon", "cli")
    dirty = subprocess.run([*command, "diff", "--quiet", "HEAD", "--", *code], capture_output=True)
    return head.stdout.strip() + ("+" if dirty.returncode else "")


def _processor() -> str:
    return next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), ""
    )


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
