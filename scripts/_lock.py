"""The lock, requirements/*.txt: what stands in it, and whether it is one of pyproject.toml.

python scripts/_lock.py check [ROOT]    exit 1, and what is wrong, unless it is
python scripts/_lock.py head            write a head on every file: of which pyproject.toml it is
python scripts/_lock.py build           what builds the distribution, one a line
python scripts/_lock.py extras          the extras, one a line
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
HEAD = "# Written by scripts/lock, from pyproject.toml with "
PIN = re.compile(r"([a-z0-9-]+)==([A-Za-z0-9.!+]+)(?: ; ([^\\]+))? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")


@dataclass(frozen=True)
class Pin:
    """One version of one package, and for which machines (a marker; "" for all)."""

    name: str
    version: str
    marker: str


class NotALock(Exception):
    """Something else than a name, a version and hashes stands in it."""


def pyproject(root: Path) -> dict[str, Any]:
    """What ranges there are."""
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


def extras(project: dict[str, Any]) -> list[str]:
    """In the order of the file."""
    return list(project["project"]["optional-dependencies"])


def wanted(project: dict[str, Any], name: str) -> list[str]:
    """The requirements that ``requirements/NAME.txt`` answers."""
    if name == "build":
        return list(project["build-system"]["requires"])
    if name == "tools":
        return list(project["dependency-groups"]["tools"])
    own = project["project"]["name"]
    found = list(project["project"]["dependencies"])
    ahead = [name]
    while ahead:
        for line in project["project"]["optional-dependencies"][ahead.pop()]:
            requirement = Requirement(line)
            if canonicalize_name(requirement.name) == own:
                ahead.extend(requirement.extras)
            else:
                found.append(line)
    return found


def head(project: dict[str, Any], name: str) -> str:
    """The first line of the file: it changes with what is wanted."""
    asked = [project["project"]["requires-python"], *sorted(wanted(project, name))]
    return HEAD + hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16] + "\n"


def pins(path: Path) -> list[Pin]:
    """What a file locks.

    Raises ``NotALock``: nothing but heads, pins and hashes may stand there, so no address of an index either.
    """
    found: list[Pin] = []
    hashed = True
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if match := HASH.fullmatch(line):
            hashed = True
        elif (match := PIN.fullmatch(line)) and hashed:
            found.append(Pin(match[1], match[2], match[3] or ""))
            hashed = False
        elif not (number == 1 and line.startswith(HEAD)):
            raise NotALock(f"{path.name}, line {number}: neither a pin nor a hash: {line!r}")
    if not hashed:
        raise NotALock(f"{path.name}: {found[-1].name} has no hash")
    return found


def lock(root: Path) -> dict[str, list[Pin]]:
    """Every file of it, by name."""
    return {path.stem: pins(path) for path in sorted((root / "requirements").glob("*.txt"))}


def problems(root: Path) -> Iterator[str]:
    """Why it is not the lock of this pyproject.toml."""
    project = pyproject(root)
    names = {"build", "tools", *extras(project)}
    held = lock(root)
    for name in sorted(names ^ held.keys()):
        yield f"requirements/{name}.txt " + ("is missing" if name in names else "is for nothing in pyproject.toml")
    for name in sorted(names & held.keys()):
        for requirement in map(Requirement, wanted(project, name)):
            versions = [pin.version for pin in held[name] if pin.name == canonicalize_name(requirement.name)]
            if not versions:
                yield f"requirements/{name}.txt has no {requirement.name}"
            for version in versions:
                if not requirement.specifier.contains(version, prereleases=True):
                    yield f"requirements/{name}.txt has {requirement.name} {version}, wanted is {requirement}"
        text = (root / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
        if not text.startswith(head(project, name)):
            yield f"requirements/{name}.txt is of another pyproject.toml"
    # All but the tools are installed into one environment.
    together: dict[str, tuple[str, set[Pin]]] = {}
    for name in sorted(names - {"tools"} & held.keys()):
        for package in sorted({pin.name for pin in held[name]}):
            these = {pin for pin in held[name] if pin.name == package}
            other, those = together.setdefault(package, (name, these))
            if {pin.version for pin in these} != {pin.version for pin in those}:
                yield f"requirements/{name}.txt and {other}.txt have different versions of {package}"


def check(root: Path) -> int:
    """Say what is wrong; 1 if anything is."""
    try:
        found = list(problems(root))
    except NotALock as exc:
        found = [f"requirements/{exc}"]
    for problem in found:
        print(problem)
    if found:
        print("run scripts/lock")
    return 1 if found else 0


def main() -> int:
    """One command."""
    command, root = sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT
    project = pyproject(root)
    if command == "check":
        return check(root)
    if command == "head":
        for name in ("build", "tools", *extras(project)):
            path = root / "requirements" / f"{name}.txt"
            path.write_text(head(project, name) + path.read_text(encoding="utf-8"), encoding="utf-8")
    else:
        print("\n".join({"build": wanted(project, "build"), "extras": extras(project)}[command]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
