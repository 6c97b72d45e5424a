"""pip-audit over the whole lock, with an answer that tells "nothing is known" from "nobody was asked".

python scripts/_audit.py PROGRAM [ARGUMENT...]    PROGRAM is pip-audit; the arguments go to it
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from _lock import ROOT, lock

CLEAN, VULNERABLE, UNKNOWN = 0, 1, 3


def asked(command: list[str], pins: list[tuple[str, str]]) -> list[dict[str, Any]] | None:
    """What the service says of each; None where it gave no answer (pip-audit's own words went to stderr)."""
    with tempfile.TemporaryDirectory() as scratch:
        wanted, answer = Path(scratch, "pins.txt"), Path(scratch, "answer.json")
        wanted.write_text("".join(f"{name}=={version}\n" for name, version in pins))
        options = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
        options += ["--requirement", str(wanted), "--output", str(answer)]
        done = subprocess.run([*command, *options], check=False, stderr=subprocess.PIPE, text=True)
        try:
            found: list[dict[str, Any]] = json.loads(answer.read_text())["dependencies"]
        except (OSError, ValueError):
            sys.stderr.write("\n".join(done.stderr.splitlines()[-3:]) + "\n")
            return None
        return found


def main() -> int:
    """Ask, and judge."""
    command = sys.argv[1:]
    ahead = sorted({(pin.name, pin.version) for pins in lock(ROOT).values() for pin in pins})
    vulnerable: list[str] = []
    skipped: list[str] = []
    heard = 0
    number = len(ahead)
    while ahead:
        # One version of each package at a time: two in one file contradict one another.
        now = list({name: (name, version) for name, version in ahead}.values())
        ahead = [pin for pin in ahead if pin not in now]
        answer = asked(command, now)
        if answer is None:
            print(f"NOT AUDITED: {number} packages are locked, the service gave no answer: nothing is known")
            return UNKNOWN
        for one in answer:
            heard += 1
            if "skip_reason" in one:
                skipped.append(str(one["name"]))
            for vulnerability in one.get("vulns", []):
                fixed = ", ".join(vulnerability["fix_versions"]) or "no version yet"
                vulnerable.append(f"{one['name']} {one['version']}: {vulnerability['id']}, fixed in {fixed}")
    answered = heard - len(skipped)
    if answered:
        print(f"of {answered} of {number} locked packages the service knows; vulnerabilities: {len(vulnerable)}")
    for line in vulnerable:
        print(f"  {line}")
    if vulnerable:
        print("renew them: scripts/lock --upgrade-package NAME")
    if answered < number:
        names = f": {', '.join(skipped)}" if 0 < len(skipped) <= 20 else ""
        print(f"NOT AUDITED: of {number - answered} of {number} locked packages the service knows nothing{names}")
    if vulnerable:
        return VULNERABLE
    return UNKNOWN if answered < number else CLEAN


if __name__ == "__main__":
    sys.exit(main())
