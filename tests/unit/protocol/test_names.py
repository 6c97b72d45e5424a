"""Names of files, members and sites: each broken rule is said in its own words."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from librarian_protocol.errors import NameInvalid, SiteNameInvalid
from librarian_protocol.names import (
    MAX_COMPONENT_BYTES,
    MAX_NAME_BYTES,
    RESERVED_SITE_NAMES,
    MemberPath,
    Name,
    SiteName,
)

#: Rules that hold for names and for members alike, each with the message that names it.
BROKEN: list[tuple[str | bytes, str]] = [
    ("", "is empty"),
    (b"", "is empty"),
    ("/a", "is absolute"),
    ("//", "is absolute"),
    ("..", "has the component '\\.\\.'"),
    ("a/../b", "has the component '\\.\\.'"),
    ("a/.", "has the component '\\.'"),
    ("./a", "has the component '\\.'"),
    ("a//b", "has an empty component"),
    ("a/", "has an empty component"),
    ("a\x00b", "contains a NUL byte"),
    (b"a\x00", "contains a NUL byte"),
    ("a\nb", "contains a control character"),
    ("a\x1b[31m", "contains a control character"),
    ("a\x7f", "contains a control character"),
    ("a\x85b", "contains a control character"),
    (b"\xff", "is not valid UTF-8"),
    (b"a/\xc3", "is not valid UTF-8"),
    ("\udc80", "is not valid UTF-8"),
    ("A\u030a", "is not in Unicode normal form C"),
    ("a/" + "\u212b", "is not in Unicode normal form C"),
    ("x" * 256, "has a component longer than 255 bytes"),
    ("é" * 128, "has a component longer than 255 bytes"),
    ("\U0001f52d" * 64, "has a component longer than 255 bytes"),
    ("/".join(["x" * 204] * 5) + "x", "is longer than 1024 bytes"),
    ("/".join(["é" * 102] * 5) + "x", "is longer than 1024 bytes"),
]


@pytest.mark.parametrize(("raw", "message"), BROKEN)
def test_a_broken_rule_is_named_in_a_files_name(raw: str | bytes, message: str) -> None:
    """The person who reads it knows what to rename."""
    with pytest.raises(NameInvalid, match=f"^name .*{message}|^name {message}"):
        Name.parse(raw)


@pytest.mark.parametrize(("raw", "message"), BROKEN)
def test_a_broken_rule_is_named_in_a_members_path(raw: str | bytes, message: str) -> None:
    """The same rules inside a book."""
    with pytest.raises(NameInvalid, match=f"^member .*{message}|^member {message}"):
        MemberPath.parse(raw)


@pytest.mark.parametrize(
    "raw",
    [
        "a",
        "a/b c/d",
        "...",
        ".hidden",
        "a..b/..c",
        "-rf",
        "Ångström",
        "\U0001f52d" * 63,
        "é" * 127,
        "x" * 255,
        "/".join(["x" * 204] * 5),
        "/".join(["é" * 102] * 5),
        "a/.librarian",
        ".librarian2",
        "a\u2028b",
        "\u00a0",
    ],
)
def test_what_breaks_no_rule_is_accepted_unchanged(raw: str) -> None:
    """Up to the very limits; as text and as the bytes of a directory entry."""
    assert Name.parse(raw) == raw
    assert type(Name.parse(raw.encode())) is Name
    assert MemberPath.parse(raw.encode()) == raw


def test_the_limits_are_those_of_the_filesystems() -> None:
    """docs/architecture.md."""
    assert (MAX_COMPONENT_BYTES, MAX_NAME_BYTES) == (255, 1024)


@pytest.mark.parametrize("raw", [".librarian", ".librarian/head", ".Librarian/x", ".LIBRARIAN"])
def test_the_stores_own_directory_is_no_name(raw: str) -> None:
    """In any letter case, as some filesystems see it; inside a book it is a name like any other."""
    with pytest.raises(NameInvalid, match="begins with '\\.librarian', which every store keeps for itself"):
        Name.parse(raw)
    assert MemberPath.parse(raw) == raw


def test_a_name_of_usual_length_is_shown_whole() -> None:
    """Cut only where a log line would not bear it."""
    with pytest.raises(NameInvalid) as caught:
        Name.parse("a//" + "b" * 115)
    assert caught.value.message == f"name 'a//{'b' * 115}' has an empty component"


def test_a_hostile_name_is_shown_harmless_and_short() -> None:
    """What is printed can neither steer a terminal nor fill a log."""
    with pytest.raises(NameInvalid) as caught:
        Name.parse("\x1b]0;é" + "x" * 10_000)
    assert caught.value.message.isascii() is False  # the ellipsis, which is ours
    assert "\x1b" not in caught.value.message
    assert "(10005 long)" in caught.value.message
    assert len(caught.value.message) < 250


def _is_good(text: str) -> bool:
    """The rules of docs/architecture.md, said a second time and in another way."""
    parts = text.split("/")
    return (
        all(part not in {"", ".", ".."} and len(part.encode()) <= 255 for part in parts)
        and len(text.encode()) <= 1024
        and unicodedata.normalize("NFC", text) == text
        and not any(unicodedata.category(sign) == "Cc" for sign in text)
    )


@given(st.one_of(st.text(), st.text(alphabet="a/.é\u030a\x00\n", max_size=8)))
@example("a" * 255 + "/" + "b" * 255)
def test_arbitrary_text_is_judged_by_the_rules_and_never_crashes(text: str) -> None:
    """Two ways of saying the rules agree."""
    try:
        accepted = MemberPath.parse(text) == text
    except NameInvalid:
        accepted = False
    try:
        text.encode()
    except UnicodeEncodeError:
        assert not accepted
        return
    assert accepted == _is_good(text)


@given(st.binary(max_size=40))
def test_arbitrary_bytes_are_refused_or_accepted_and_never_crash(raw: bytes) -> None:
    """A directory may hold any bytes; what is accepted is those very bytes."""
    try:
        name = Name.parse(raw)
    except NameInvalid:
        return
    assert name.encode() == raw


@pytest.mark.parametrize(("one", "other"), [("M31.fits", "m31.FITS"), ("Straße", "STRASSE"), ("Ångström", "ÅNGSTRÖM")])
def test_twins_that_differ_in_letter_case_fold_alike(one: str, other: str) -> None:
    """So that they are found before a case-insensitive store merges them."""
    assert Name.parse(one).folded == Name.parse(other).folded


def test_other_names_do_not_fold_alike() -> None:
    """An accent is not letter case."""
    assert Name.parse("e").folded != Name.parse("é").folded


@pytest.mark.parametrize("raw", ["a", "summit", "site-2", "a" * 31, "a-"])
def test_a_good_site_name_is_accepted(raw: str) -> None:
    """A token of subjects and of stream names."""
    assert SiteName.parse(raw) == raw


@pytest.mark.parametrize("raw", ["", "A", "2a", "-a", "a_b", "a.b", "a" * 32, "a\n", "é", "a b", "a*", "\udc80"])
def test_a_bad_site_name_is_refused(raw: str) -> None:
    """Nothing that has a meaning in a subject."""
    with pytest.raises(SiteNameInvalid, match="is not of the form"):
        SiteName.parse(raw)


def test_words_of_the_subjects_are_no_site_names() -> None:
    """They stand where a site's name could stand."""
    assert {"rpc", "head", "inbox", "pull", "reset", "join", "joined"} == RESERVED_SITE_NAMES
    for word in RESERVED_SITE_NAMES:
        with pytest.raises(SiteNameInvalid, match="is reserved"):
            SiteName.parse(word)


@given(st.text())
def test_arbitrary_site_names_never_crash(text: str) -> None:
    """Refused in words."""
    try:
        name = SiteName.parse(text)
    except SiteNameInvalid:
        return
    assert name.isascii()


def test_raw_bytes_are_shown_to_people_as_text() -> None:
    """Not in the way in which a program writes them."""
    with pytest.raises(NameInvalid) as caught:
        Name.parse(b"a\xff\n")
    assert "'a\\xff\\n'" in caught.value.message
