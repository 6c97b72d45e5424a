"""Globs over names: ``*``, ``?`` stay in a component, ``**`` crosses; ``[a-z]`` and ``[!a-z]`` are sets."""

from __future__ import annotations

import re
from functools import lru_cache

from librarian_protocol.errors import ArgumentInvalid

EVERYTHING = "**"


@lru_cache(maxsize=1024)
def _pattern(glob: str) -> re.Pattern[str]:
    out: list[str] = []
    i = 0
    while i < len(glob):
        char = glob[i]
        if glob.startswith("**/", i) and (i == 0 or glob[i - 1] == "/"):
            out.append("(?:.*/)?")
            i += 3
        elif glob.startswith("**", i):
            out.append(".*")
            i += 2
        elif char == "*":
            out.append("[^/]*")
            i += 1
        elif char == "?":
            out.append("[^/]")
            i += 1
        elif char == "[":
            negated = glob.startswith("!", i + 1)
            first = i + 2 if negated else i + 1
            end = glob.find("]", first + 1)  # a set has at least one member, which may be the sign itself
            if end < 0:
                raise ArgumentInvalid(
                    f"glob {glob!r} has a '[' without its ']'", hint="write '[[]' for the sign itself"
                )
            members = re.sub(r"([\\\[\]^&~|]|(?<=-)-)", r"\\\1", glob[first:end])
            out.append(f"(?!/)[{'^' if negated else ''}{members}]")
            i = end + 1
        else:
            out.append(re.escape(char))
            i += 1
    try:
        return re.compile("".join(out) + r"\Z", re.DOTALL)
    except re.error as exc:
        raise ArgumentInvalid(f"glob {glob!r} is not valid: {exc}") from exc


def check(glob: str) -> str:
    """The glob itself if it is well formed.

    Raises:
        ArgumentInvalid: what is wrong with it.
    """
    if not glob:
        raise ArgumentInvalid("a glob must not be empty", hint=f"{EVERYTHING!r} matches every name")
    _pattern(glob)
    return glob


def literal(name: str) -> str:
    """The glob that matches this name and no other."""
    return re.sub(r"([*?\[])", r"[\1]", name)


def matches(glob: str, name: str) -> bool:
    """Whether the whole name matches.

    Raises:
        ArgumentInvalid: the glob is malformed.
    """
    return _pattern(glob).match(name) is not None
