"""What a long run leaves behind: command, commit and machine on top, then how it ended.

python scripts/_kept.py NAME COMMAND    reads build/NAME.log and build/NAME.jsonl, writes benchmarks/results/NAME.*
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Exit 1 where the run's last line does not tell of success."""
    name, command = sys.argv[1:]
    log, raw = ROOT / "build" / f"{name}.log", ROOT / "build" / f"{name}.jsonl"
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = log.read_text(errors="replace").splitlines()
    last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
    kept = raw.read_bytes() if raw.exists() else b""
    head = [
        f"command: {command}",
        f"commit:  {commit.strip()}",
        f"date:    {time.strftime('%Y-%m-%d')}",
        f"machine: {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}",
        f"runs:    {len(kept.splitlines())} (one line each in {name}.jsonl)",
        f"result:  {last.strip('= ')}",
    ]
    results = ROOT / "benchmarks" / "results"
    (results / f"{name}.txt").write_text("\n".join(head) + "\n")
    (results / f"{name}.jsonl").write_bytes(kept)
    sys.stdout.write("\n".join(head) + "\n")
    return 0 if " passed" in last and "failed" not in last else 1


if __name__ == "__main__":
    sys.exit(main())
