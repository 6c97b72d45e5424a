"""Globs over names."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from contextlib import suppress
from types import FrameType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from librarian_protocol import globs
from librarian_protocol.errors import ArgumentInvalid, InputError
from librarian_protocol.globs import EVERYTHING, check, literal, matches, well_formed
from librarian_protocol.names import Name


@pytest.mark.parametrize(
    ("glob", "name"),
    [
        ("**", "a/b/c"),
        ("a", "a"),
        ("*", "abc"),
        ("*.fits", ".fits"),
        ("a?c", "abc"),
        ("raw/**", "raw/a/b"),
        ("raw/**/x", "raw/x"),
        ("raw/**/x", "raw/a/b/x"),
        ("**/x", "x"),
        ("**/x", "a/b/x"),
        ("a**/b", "a/b"),
        ("a**/b", "axy/z/b"),
        ("a**b", "a/x/b"),
        ("[a-c]x", "bx"),
        ("[!a-c]x", "dx"),
        ("[]]", "]"),
        ("[!]]", "a"),
        ("[[]", "["),
        ("[a^]", "^"),
        ("[^a]", "^"),
        ("[\\d]", "\\"),
        ("[a&&b]", "&"),
        ("[a||b]", "|"),
        ("[a~~b]", "~"),
        ("[+--]", ","),
        ("[a-]", "-"),
        ("a.b", "a.b"),
        ("a+(b)", "a+(b)"),
        ("*", "a\u2028b"),
        ("é*", "éa"),
    ],
)
def test_a_name_that_matches(glob: str, name: str) -> None:
    """Each sign means what the documentation says."""
    assert matches(check(glob), name)


@pytest.mark.parametrize(
    ("glob", "name"),
    [
        ("a", "ab"),
        ("a", "ba"),
        ("a", "a\n"),
        ("*", "a/b"),
        ("*.fits", "afits"),
        ("*", "a/"),
        ("a?b", "a/b"),
        ("raw/**", "raw"),
        ("raw/**", "rawer/x"),
        ("raw/**/x", "raw/ax"),
        ("**/x", "ax"),
        ("a**/b", "ab"),
        ("[!a]", "/"),
        ("[.-0]", "/"),
        ("[!a-c]x", "bx"),
        ("[\\d]", "7"),
        ("a.b", "axb"),
        ("A", "a"),
        ("ab*bc", "abc"),
        ("*?", ""),
        ("a/**/b/*/c", "a/b/c"),
        ("", "a"),
        ("[a", "[a"),
        ("[z-a]", "z"),
    ],
)
def test_a_name_that_does_not_match(glob: str, name: str) -> None:
    """Only ** crosses a slash, the whole name counts, and case counts."""
    assert not matches(glob, name)


def test_a_closing_sign_right_after_the_opening_is_a_member() -> None:
    """Negated or not; the set goes on to the next closing sign."""
    assert [sign for sign in "]x[ab" if matches("[!]x[a]", sign)] == ["b"]
    assert [sign for sign in "]x[ab" if matches("[]x[a]", sign)] == ["]", "x", "[", "a"]


@pytest.mark.parametrize(
    ("glob", "message"),
    [
        ("", "must not be empty"),
        ("[a", "has a '\\[' without its '\\]'"),
        ("[]", "has a '\\[' without its '\\]'"),
        ("[!]", "has a '\\[' without its '\\]'"),
        ("[z-a]", "is not valid: bad character range z-a"),
        ("a" * 1025, "has 1025 characters; 1024 are allowed"),
        ("?" * 65, "has 65 of"),
    ],
)
def test_a_malformed_glob_is_refused_with_its_reason(glob: str, message: str) -> None:
    """An operator's typing error must not become a subscription to nothing."""
    for refusing in (check, well_formed):
        with pytest.raises(ArgumentInvalid, match=message):
            refusing(glob)


@pytest.mark.parametrize(
    ("glob", "message", "hint"),
    [
        ("obs/", "ends with '/'", "write 'obs/\\*\\*'"),
        ("**/", "ends with '/'", r"write '\*\*' "),
        ("obs/*/", "ends with '/'", r"write 'obs/\*/\*\*'"),
        ("/abs/*", "begins with '/'", r"write 'abs/\*'"),
        ("/", "begins with '/'", r"write '\*\*'"),
        ("a//b", "empty component", "write 'a/b'"),
        ("**//b", "empty component", r"write '\*\*/b'"),
        ("../x", r"the component '\.\.'", "root of the namespace"),
        ("a/./x", r"the component '\.'", "root of the namespace"),
        ("./x*", r"the component '\.'", r"write 'x\*'"),
        ("{a,b}*", "braces", r"one glob for each: 'a\*', 'b\*'; '\[{\]'"),
        ("raw/x.{fits,fz}", "braces", r"'raw/x\.fits', 'raw/x\.fz'"),
        (r"a\*", "backslash before a sign", r"'\[\*\]'"),
        ("[/]", "set of '/' alone", "within a component"),
        ("a\nb", "control character", ""),
        ("\ud800*", "not valid UTF-8", ""),
        ("e\u0301*", "normal form C", r"write '\\xe9\*'"),
        (".Librarian/**", "every store keeps for itself", ""),
        ("raw/" + "é" * 128 + "*", "component longer than 255 bytes", ""),
        ("[a]" + "a" * 255, "component longer than 255 bytes", ""),
    ],
)
def test_a_glob_that_can_match_nothing_is_refused_with_what_was_meant(glob: str, message: str, hint: str) -> None:
    """A rule that never brings anything looks like a rule that works."""
    well_formed(glob)
    with pytest.raises(ArgumentInvalid, match=message) as refused:
        check(glob)
    assert re.search(hint, refused.value.hint)


@pytest.mark.parametrize(
    "glob",
    [
        "[a-z]/[!.]*",
        "{a}",
        "a,b",
        "[{]a,b}",
        "a\\b",
        ".librarian",
        "x/.librarian/**",
        ".librarian-x/**",
        "...",
        "?" * 64,
        "a" * 200 + "**" + "b" * 200,
        "a/**/b",
    ],
)
def test_what_can_match_is_accepted(glob: str) -> None:
    """Nothing is refused for looking odd alone."""
    assert check(glob) == glob


_SIGNS = st.text(alphabet="[]!*?^-&|~/\\.ab\né{,}", max_size=12)


@given(_SIGNS, st.text(alphabet="[]!^-/\\.abé", max_size=6))
def test_arbitrary_globs_are_refused_or_decide_and_never_crash(glob: str, name: str) -> None:
    """Also those that were refused: a journal may hold them."""
    assert matches(glob, name) in (True, False)
    with suppress(ArgumentInvalid):
        check(glob)


# ---- the meaning that globs have always had --------------------------------------------------------------


def by_regular_expression(glob: str, name: str) -> bool:
    """What decided before there was a table (docs/adr/0026): it tries again without end, so small inputs only."""
    out: list[str] = []
    i = 0
    while i < len(glob):
        if glob.startswith("**/", i) and (i == 0 or glob[i - 1] == "/"):
            out.append("(?:.*/)?")
            i += 3
        elif glob.startswith("**", i):
            out.append(".*")
            i += 2
        elif glob[i] == "*":
            out.append("[^/]*")
            i += 1
        elif glob[i] == "?":
            out.append("[^/]")
            i += 1
        elif glob[i] == "[":
            negated = glob.startswith("!", i + 1)
            first = i + 2 if negated else i + 1
            end = glob.find("]", first + 1)
            if end < 0:
                return False
            members = re.sub(r"([\\\[\]^&~|]|(?<=-)-)", r"\\\1", glob[first:end])
            out.append(f"(?!/)[{'^' if negated else ''}{members}]")
            i = end + 1
        else:
            out.append(re.escape(glob[i]))
            i += 1
    try:
        return re.match("".join(out) + r"\Z", name, re.DOTALL) is not None
    except re.error:
        return False


_PIECES = st.lists(
    st.sampled_from(["*", "**", "**/", "/", "a", "b", "?", "[", "]", "!", "-", "^", "[!a]", "[a-b]", "\\", "é", "."]),
    max_size=9,
).map("".join)


@settings(max_examples=300)
@given(_PIECES, st.text(alphabet="ab/]-^\\é\n!.", max_size=9))
@example("[+---]a", "-a")
@example("a/**/**/*b", "a/x/b")
@example("****/a", "x/a")
def test_a_glob_means_what_it_always_meant(glob: str, name: str) -> None:
    """Sites of two versions must decide alike about a grant."""
    assert matches(glob, name) == by_regular_expression(glob, name)


@settings(max_examples=300)
@given(_PIECES, st.lists(st.sampled_from("ab/]-^é."), min_size=1, max_size=9).map("".join))
def test_what_is_refused_as_matching_nothing_matches_no_name(glob: str, name: str) -> None:
    """The check is not stricter than the truth; backslashes apart, which mean something else to people."""
    try:
        Name.parse(name)
        well_formed(glob)
    except InputError:
        return
    if matches(glob, name) and "\\" not in glob:
        check(glob)


# ---- what it costs ---------------------------------------------------------------------------------------

#: Globs after which a backtracking matcher tries without end, and names that they do not match.
FREEZING = [
    ("**?" * 12, "a/" * 22),
    ("**?" * 340, "a" * 1000 + "/"),
    ("*a" * 500, "a" * 1000 + "b"),
    ("**/" + "*a/**/" * 160, "a/" * 500 + "b"),
    ("**/*" * 250 + "b", "a/" * 510),
    ("[!b]*" * 200 + "c", "a" * 1000),
    ("?*" * 500 + "b", "".join(chr(0x4E00 + number) for number in range(1000))),
]


def steps_of(glob: str, name: str) -> int:
    """Lines of the matcher that ran."""
    ran = 0

    def count(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal ran
        if frame.f_code.co_filename != globs.__file__:
            return None
        ran += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        matches(glob, name)
    finally:
        sys.settrace(before)
    return ran


def test_no_glob_freezes_who_asks_it() -> None:
    """In a process of its own, which may compute for ten seconds: what tries without end would never come back."""
    script = f"from librarian_protocol.globs import matches\nprint([matches(*one) for one in {FREEZING!r}])"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (10, 10)),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{[False] * len(FREEZING)}\n"


@given(
    st.lists(st.sampled_from(["*", "**", "**/", "*a", "**?", "?", "[!b]", "a", "/"]), max_size=60).map("".join),
    st.lists(st.sampled_from(["a", "/", "b", "a/", "aa"]), max_size=60).map("".join),
)
def test_the_cost_is_one_step_for_each_character(glob: str, name: str) -> None:
    """Counted in lines that run, not in time: so many for a glob, once, and so many for each character."""
    assert steps_of(glob, name) <= 100 + 40 * len(glob) + 12 * len(name)
    assert steps_of(glob, name) <= 100 + 12 * len(name), "a glob is read once"


@given(st.text())
def test_everything_matches_every_name(name: str) -> None:
    """The default of every subscription and grant."""
    assert matches(EVERYTHING, name)


@given(st.text(alphabet="ab/.*", min_size=1, max_size=8))
def test_a_glob_without_signs_matches_itself_alone(text: str) -> None:
    """A literal name is a glob for it."""
    literal = text.replace("*", "[*]")
    assert matches(well_formed(literal), text)
    assert not matches(literal, text + "a")


@pytest.mark.parametrize("name", ["a.dat", "a[1].dat", "what?.dat", "a*b/**/c", "[!x]"])
def test_a_literal_glob_matches_its_name_and_nothing_else(name: str) -> None:
    """Whatever signs it has."""
    assert matches(literal(name), name)
    assert not matches(literal(name), name + "x")
    assert not matches(literal("a*b"), "axb")


def test_a_glob_that_has_met_more_characters_than_it_remembers_answers_the_same() -> None:
    """What it remembers of characters is bounded; the others are looked up each time."""
    many = "".join(chr(0x4E00 + number) for number in range(2_000))
    for _ in range(2):
        assert globs.matches("[!a]*z", many + "z")
        assert not globs.matches("[!a]*z", many)
