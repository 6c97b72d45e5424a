"""Globs over names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian_protocol.errors import ArgumentInvalid
from librarian_protocol.globs import EVERYTHING, check, literal, matches


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
        ("[z-a]", "is not valid: bad character range"),
    ],
)
def test_a_malformed_glob_is_refused_with_its_reason(glob: str, message: str) -> None:
    """An operator's typing error must not become a subscription to nothing."""
    with pytest.raises(ArgumentInvalid, match=message):
        check(glob)


@given(st.text(alphabet="[]!*?^-&|~/\\.ab\né", max_size=12), st.text(alphabet="[]!^-/\\.abé", max_size=6))
def test_arbitrary_globs_are_refused_or_decide_and_never_crash(glob: str, name: str) -> None:
    """No warning of the regular expressions underneath leaks either: warnings are errors here."""
    try:
        check(glob)
    except ArgumentInvalid:
        return
    assert matches(glob, name) in (True, False)


@given(st.text())
def test_everything_matches_every_name(name: str) -> None:
    """The default of every subscription and grant."""
    assert matches(EVERYTHING, name)


@given(st.text(alphabet="ab/.*", min_size=1, max_size=8))
def test_a_glob_without_signs_matches_itself_alone(text: str) -> None:
    """A literal name is a glob for it."""
    literal = text.replace("*", "[*]")
    assert matches(check(literal), text)
    assert not matches(literal, text + "a")


@pytest.mark.parametrize("name", ["a.dat", "a[1].dat", "what?.dat", "a*b/**/c", "[!x]"])
def test_a_literal_glob_matches_its_name_and_nothing_else(name: str) -> None:
    """Whatever signs it has."""
    assert matches(literal(name), name)
    assert not matches(literal(name), name + "x")
    assert not matches(literal("a*b"), "axb")
