"""What the newest of everything breaks: for scripts/test-newest.

python scripts/_newest.py unbound FILE    take the upper bounds out of that pyproject.toml
python scripts/_newest.py same A B         exit 0 where two directories lock the same versions
python scripts/_newest.py tell COMMIT COMMAND    reads build/test-newest-*, writes benchmarks/results/test-newest.txt
"""

from __future__ import annotations

import os
import platform
import re
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def unbound(path: Path) -> None:
    """``"name>=1,<2"`` becomes ``"name>=1"``, wherever it stands."""
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r'("[\w.\[\],-]+>=[\w.!]+),<[\w.]+"', r'\1"', text), encoding="utf-8")


def versions(path: Path) -> dict[str, str]:
    """Package and version of every pin."""
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", path.read_text(encoding="utf-8"), re.MULTILINE))


def same(one: Path, other: Path) -> bool:
    """Whether they lock the same."""
    return all(versions(path) == versions(other / path.name) for path in sorted(one.glob("*.txt")))


def tell(commit: str, command: str) -> int:
    """The summary; 1 where something broke."""
    locked = versions(ROOT / "requirements" / "dev.txt")
    lines = [
        f"command: {command}",
        f"commit:  {commit}",
        f"date:    {time.strftime('%Y-%m-%d')}",
        f"machine: {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}",
    ]
    broken = False
    for bounds, meaning in (("ranges", "within the ranges of pyproject.toml"), ("unbounded", "without upper bounds")):
        newest = versions(ROOT / "build" / f"test-newest-{bounds}.txt")
        log = (ROOT / "build" / f"test-newest-{bounds}.log").read_text(encoding="utf-8", errors="replace")
        ends = re.findall(r"^test-newest: (.*)$", log, re.MULTILINE)
        finished = bool(ends) and ends[-1].startswith(("test ", "check and test "))
        broken |= not finished or any("FAILED" in end for end in ends)
        lines += ["", f"{meaning}: {', '.join(ends) or 'it did not get as far as an end'}"]
        differ = sorted(name for name in newest if newest[name] != locked.get(name))
        lines += [f"  {name}: locked {locked.get(name, 'not')}, newest {newest[name]}" for name in differ]
        lines += [] if differ else ["  the same versions as locked"]
        telling = r"^(?:check: failed:.*|(?:FAILED|ERROR) .*|Terminated|Killed|=* ?\d+ (?:failed|passed).*|  [×╰].*)$"
        told = re.findall(telling, log, re.MULTILINE)
        lines += [f"  {line.strip('= ')}" for line in dict.fromkeys(told)]
    text = "\n".join(lines) + "\n"
    (ROOT / "benchmarks" / "results" / "test-newest.txt").write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return int(broken)


def main() -> int:
    """One of the two."""
    command, *arguments = sys.argv[1:]
    if command == "unbound":
        unbound(Path(arguments[0]))
        return 0
    if command == "same":
        return int(not same(Path(arguments[0]), Path(arguments[1])))
    return tell(*arguments)


if __name__ == "__main__":
    sys.exit(main())
