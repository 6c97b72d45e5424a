"""Globs over names: ``*``, ``?`` stay in a component, ``**`` crosses; ``[a-z]`` and ``[!a-z]`` are sets.

A glob comes from anybody: a browser, a peer's journal, a configuration. So matching costs one step for each character
of the name, whatever the glob (docs/adr/0026): all places at which the glob can stand are the bits of one integer,
which moves on with each character. Nothing is tried twice, and no library decides what a glob means.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from enum import Enum
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from librarian_protocol.errors import ArgumentInvalid
from librarian_protocol.names import MAX_COMPONENT_BYTES, RESERVED_COMPONENT

EVERYTHING = "**"
#: What a name has at most, and what an entry has room for.
MAX_CHARACTERS = 1024
#: ``*``, ``**``, ``?`` and sets, together: a date of fourteen ``?`` and a few more of the kind.
MAX_SIGNS = 64
#: Characters of which a compiled glob remembers where they fit.
_REMEMBERED = 256
_BRACES = re.compile(r"\{([^{}\[\]]*,[^{}\[\]]*)\}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class _Set(NamedTuple):
    """One character, never a slash: of the ranges, or of none of them."""

    negated: bool
    ranges: tuple[tuple[str, str], ...]

    def has(self, char: str) -> bool:
        return any(low <= char <= high for low, high in self.ranges) != self.negated


class _Run(Enum):
    """Any number of characters, also none."""

    #: ``*``: none of them a slash.
    WITHIN = 1
    #: ``**``.
    ACROSS = 2
    #: ``**/`` as a whole component: nothing, or all up to a slash.
    DIRECTORIES = 3


#: A character stands for itself.
_Token = str | _Set | _Run


def check(glob: str) -> str:
    """The glob itself if it is well formed, within bounds, and can match a name.

    What stands in a journal is not asked this: :func:`matches` decides about every text.

    Raises:
        ArgumentInvalid: what is wrong with it, and what may have been meant.
    """
    well_formed(glob)
    problem, hint = _why_nothing(glob, list(_parsed(glob)))
    if problem:
        raise ArgumentInvalid(f"glob {_shown(glob)} {problem}", hint=hint)
    return glob


def well_formed(glob: str) -> str:
    """The glob itself if it can be read, and is within bounds; whether it can match anything is not asked.

    Raises:
        ArgumentInvalid: what is wrong with it.
    """
    if not glob:
        raise ArgumentInvalid("a glob must not be empty", hint=f"{EVERYTHING!r} matches every name")
    if len(glob) > MAX_CHARACTERS:
        raise ArgumentInvalid(
            f"glob {_shown(glob)} has {len(glob)} characters; {MAX_CHARACTERS} are allowed",
            hint="no name is longer: give several globs instead",
        )
    signs = sum(not isinstance(token, str) for token in _parsed(glob))
    if signs > MAX_SIGNS:
        raise ArgumentInvalid(
            f"glob {_shown(glob)} has {signs} of '*', '?' and sets; {MAX_SIGNS} are allowed",
            hint="'*' stands for any number of characters, '**' also for slashes",
        )
    return glob


def literal(name: str) -> str:
    """The glob that matches this name and no other."""
    return re.sub(r"([*?\[{\\])", r"[\1]", name)


def matches(glob: str, name: str) -> bool:
    """Whether the whole name matches. A glob that is not well formed matches nothing.

    Costs one step for each character of the name, and nothing that grows faster.
    """
    compiled = _compiled(glob)
    return compiled is not None and compiled.matches(name)


# ---- reading a glob --------------------------------------------------------------------------------------


def _parsed(glob: str) -> Iterator[_Token]:
    at = 0
    while at < len(glob):
        if glob.startswith("**/", at) and (at == 0 or glob[at - 1] == "/"):
            yield _Run.DIRECTORIES
            at += 3
        elif glob.startswith("**", at):
            yield _Run.ACROSS
            at += 2
        elif glob[at] == "*":
            yield _Run.WITHIN
            at += 1
        elif glob[at] == "?":
            yield _Set(negated=True, ranges=())
            at += 1
        elif glob[at] == "[":
            negated = glob.startswith("!", at + 1)
            first = at + 2 if negated else at + 1
            end = glob.find("]", first + 1)  # a set has at least one member, which may be the sign itself
            if end < 0:
                raise ArgumentInvalid(
                    f"glob {_shown(glob)} has a '[' without its ']'", hint="write '[[]' for the sign itself"
                )
            yield _Set(negated=negated, ranges=tuple(_ranges(glob, glob[first:end])))
            at = end + 1
        else:
            yield glob[at]
            at += 1


def _ranges(glob: str, members: str) -> Iterator[tuple[str, str]]:
    """``a-z`` is a range, unless ``-`` stands first, last, or behind another ``-``: then it is itself."""
    at = 0
    while at < len(members):
        low = members[at]
        if members[at + 1 : at + 2] == "-" and low != "-" and at + 2 < len(members):
            high = members[at + 2]
            if high < low:
                raise ArgumentInvalid(
                    f"glob {_shown(glob)} is not valid: bad character range {low}-{high}", hint=f"write {high}-{low}"
                )
            yield low, high
            at += 3
        else:
            yield low, low
            at += 1


# ---- what can match nothing ------------------------------------------------------------------------------


def _why_nothing(glob: str, tokens: Sequence[_Token]) -> tuple[str, str]:
    """Why no name can match, or what was hardly meant, and a hint; both empty where nothing is wrong."""
    if glob.startswith("/"):
        return "begins with '/', and no name does", _write(glob.lstrip("/") or EVERYTHING)
    if glob.endswith("/"):
        below = glob.rstrip("/")
        all_below = below if below.endswith(EVERYTHING) else f"{below}/{EVERYTHING}"
        return "ends with '/', and no name does", f"{_write(all_below)} for all that is below"
    braces = _BRACES.search(glob)
    if braces:
        each = [glob[: braces.start()] + choice + glob[braces.end() :] for choice in braces[1].split(",")]
        return (
            "has braces, which stand for themselves: there are no alternatives in a glob",
            f"give one glob for each: {', '.join(_shown(glob) for glob in each[:4])}; '[{{]' is the sign itself",
        )
    if any(token == "\\" and not isinstance(following, str) for token, following in pairwise(tokens)):
        return "has a backslash before a sign, which keeps its meaning", "write '[*]', '[?]', '[[]' for the sign itself"
    if _CONTROL.search(glob):
        return "has a control character, and no name has one", ""
    try:
        glob.encode()
    except UnicodeEncodeError:
        return "is not valid UTF-8, and every name is", ""
    normal = unicodedata.normalize("NFC", glob)
    if normal != glob:
        return "is not in Unicode normal form C (NFC), and every name is", _write(normal)
    if any(isinstance(token, _Set) and token.ranges == (("/", "/"),) and not token.negated for token in tokens):
        return "has a set of '/' alone, which no set matches", "a set stands for one character within a component"
    return _why_no_component(glob, list(_components(tokens)))


def _why_no_component(glob: str, components: Sequence[Sequence[_Token]]) -> tuple[str, str]:
    for place, component in enumerate(components):
        text = "".join(token for token in component if isinstance(token, str))
        plain = len(text) == len(component)
        if not component:
            return "has an empty component, and no name has one", _write(re.sub("/{2,}", "/", glob))
        if plain and text in {".", ".."}:
            meant = glob[2:] if place == 0 and text == "." else ""
            return (
                f"has the component {text!r}, and no name has one",
                _write(meant) if meant else "names begin at the root of the namespace, which all sites share",
            )
        if place == 0 and plain and len(components) > 1 and text.casefold() == RESERVED_COMPONENT:
            return f"begins with {RESERVED_COMPONENT!r}, which every store keeps for itself", ""
        if max(_least_bytes(component)) > MAX_COMPONENT_BYTES:
            return f"has a component longer than {MAX_COMPONENT_BYTES} bytes, and no name has one", ""
    return "", ""


def _components(tokens: Sequence[_Token]) -> Iterator[list[_Token]]:
    """What stands between slashes; ``**/`` is a component and its slash."""
    component: list[_Token] = []
    for token in tokens:
        if token == "/" or token is _Run.DIRECTORIES:
            yield [token] if token is _Run.DIRECTORIES else component
            component = []
        else:
            component.append(token)
    yield component


def _least_bytes(component: Sequence[_Token]) -> Iterator[int]:
    """How many bytes each stretch of a component has at the least; ``**`` ends one, since it may bring a slash."""
    least = 0
    for token in component:
        if token is _Run.ACROSS:
            yield least
            least = 0
        elif isinstance(token, str):
            least += len(token.encode())
        elif isinstance(token, _Set):
            least += 1
    yield least


def _shown(glob: str) -> str:
    return ascii(glob) if len(glob) <= 120 else f"{glob[:100]!a}… ({len(glob)} long)"


def _write(glob: str) -> str:
    return f"write {_shown(glob)}"


# ---- matching --------------------------------------------------------------------------------------------


class _Compiled:
    """A glob ready to be matched: plain text at both ends, and between them bits, one a place.

    Bit *i* says that what stands before token *i* has matched. A run has no place of its own: it keeps the place that
    it follows, whatever comes. Of ``**/`` the place is kept in the bit before, and set with each slash.
    """

    __slots__ = ("_begin", "_directories", "_end", "_exact", "_fits", "_head", "_keep", "_keep_slash", "_sets", "_tail")

    def __init__(self, tokens: Sequence[_Token]) -> None:
        first, last = 0, len(tokens)
        while first < last and isinstance(tokens[first], str):
            first += 1
        while last > first and isinstance(tokens[last - 1], str):
            last -= 1
        self._head = "".join(token for token in tokens[:first] if isinstance(token, str))
        self._tail = "".join(token for token in tokens[last:] if isinstance(token, str))
        self._exact = first == last
        self._keep = self._keep_slash = self._directories = 0
        self._fits: dict[str, int] = {}
        self._sets: list[tuple[int, _Set]] = []
        place = 1
        for token in _merged(tokens[first:last]):
            if isinstance(token, str):
                self._fits[token] = self._fits.get(token, 0) | place
                place <<= 1
            elif isinstance(token, _Set):
                self._sets.append((place, token))
                place <<= 1
            elif token is _Run.DIRECTORIES:
                self._keep |= place
                self._keep_slash |= place
                self._directories |= place
                place <<= 1
            else:
                self._keep |= place
                self._keep_slash |= place if token is _Run.ACROSS else 0
        self._end = place
        self._begin = 1 | (1 & self._directories) << 1
        # The slash fits no set. Of all others it is found out when they are met.
        fits = {char: self._fitting(char) for char in self._fits if char != "/"}
        self._fits = {"/": self._fits.get("/", 0), **fits}

    def matches(self, name: str) -> bool:
        head, tail = self._head, self._tail
        if self._exact:
            return name == head
        if len(name) < len(head) + len(tail) or not (name.startswith(head) and name.endswith(tail)):
            return False
        if self._end == 1 and self._keep_slash:  # `**` alone
            return True
        places, fits = self._begin, self._fits
        for char in name[len(head) : len(name) - len(tail)]:
            fit = fits.get(char)
            if fit is None:
                fit = self._fitting(char)
                if len(fits) < _REMEMBERED:
                    fits[char] = fit
            if char == "/":
                places = (places & fit) << 1 | places & self._keep_slash
                places |= (places & self._directories) << 1
            else:
                places = (places & fit) << 1 | places & self._keep
            if not places:
                return False
        return bool(places & self._end)

    def _fitting(self, char: str) -> int:
        """The places at which one character other than a slash goes on."""
        fit = self._fits.get(char, 0)
        for place, allowed in self._sets:
            if allowed.has(char):
                fit |= place
        return fit


def _merged(tokens: Sequence[_Token]) -> Iterator[_Token]:
    """Neighbouring runs as one: two that differ reach as far as ``**``."""
    run: _Run | None = None
    for token in tokens:
        if isinstance(token, _Run):
            run = token if run in {None, token} else _Run.ACROSS
            continue
        if run is not None:
            yield run
            run = None
        yield token
    if run is not None:
        yield run


@lru_cache(maxsize=1024)
def _compiled(glob: str) -> _Compiled | None:
    try:
        return _Compiled(list(_parsed(glob)))
    except ArgumentInvalid:
        return None
