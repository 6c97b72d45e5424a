"""A book's manifest: one canonical text, checked while it streams by."""

from __future__ import annotations

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from librarian_protocol.digests import Digest
from librarian_protocol.errors import ManifestInvalid
from librarian_protocol.manifest import (
    HEADER,
    MAX_LINE_BYTES,
    ManifestReader,
    Member,
    MemberDirectory,
    MemberFile,
    line,
    read,
)
from librarian_protocol.names import MemberPath

EMPTY_HEX = Digest.blake3(b"").hex


def _file(path: str, size_bytes: int = 0) -> MemberFile:
    return MemberFile(MemberPath.parse(path), size_bytes, Digest.blake3(b""))


def _text(members: list[Member]) -> bytes:
    return HEADER + b"".join(line(member) for member in members)


def _read(text: bytes) -> list[Member]:
    return list(read([text]))


def test_the_form_is_this() -> None:
    """Byte for byte: it decides a book's digest for ever."""
    members: list[Member] = [_file("a b", 7), MemberDirectory(MemberPath.parse("dark/é"))]
    text = f"librarian-manifest 1\nF 7 {EMPTY_HEX} a b\nD dark/é\n".encode()
    assert _text(members) == text
    assert _read(text) == members


def _member(path: str, size_bytes: int) -> Member:
    return _file(path, size_bytes) if size_bytes else MemberDirectory(MemberPath.parse(path))


#: Few signs around the slash, so that prefixes, siblings and nestings come up often.
paths = st.lists(st.text(alphabet="a!.0é", min_size=1, max_size=3), min_size=1, max_size=4).map("/".join)
members = st.builds(
    _member,
    paths.filter(lambda path: not {".", ".."} & set(path.split("/"))),
    st.integers(min_value=0, max_value=10**12),
)


def _is_tree(found: list[Member]) -> bool:
    """No path twice, and none below another: a file has no members, and an empty directory neither."""
    names = [str(member.path) for member in found]
    return len(set(names)) == len(names) and not any(name.startswith(other + "/") for name in names for other in names)


def _sorted(found: list[Member]) -> list[Member]:
    return sorted(found, key=lambda member: member.path.encode())


@given(st.lists(members, max_size=12))
def test_exactly_what_can_stand_on_a_disk_is_accepted(found: list[Member]) -> None:
    """ "a", "a.b", "a/b": what sorts between a file and what lies below it does not hide the nesting."""
    found = _sorted(found)
    text = _text(found)
    if _is_tree(found):
        assert _read(text) == found
    else:
        with pytest.raises(ManifestInvalid, match=r"itself a member|out of order or repeated"):
            _read(text)


@given(st.lists(members, min_size=2, max_size=8, unique_by=lambda member: member.path), st.data())
def test_one_tree_has_one_manifest(found: list[Member], data: st.DataObject) -> None:
    """Any other order of the same members is refused."""
    shuffled = data.draw(st.permutations(found))
    if shuffled != _sorted(found):
        with pytest.raises(ManifestInvalid):
            _read(_text(shuffled))


@given(st.lists(members, max_size=8), st.data())
def test_the_chunks_do_not_matter(found: list[Member], data: st.DataObject) -> None:
    """The network cuts where it likes; members, counts and digest are the same."""
    found = [] if not _is_tree(found) else _sorted(found)
    text = _text(found)
    cuts = sorted(data.draw(st.lists(st.integers(min_value=0, max_value=len(text)), max_size=6)))
    reader = ManifestReader()
    seen: list[Member] = []
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        seen += reader.feed(text[start:end])
    assert seen == found
    assert reader.finish() == Digest(f"blake3:{blake3(text).hexdigest()}")
    files = [member for member in found if isinstance(member, MemberFile)]
    assert (reader.files, reader.size_bytes) == (len(files), sum(member.size_bytes for member in files))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["F 0 {hex} a", "F 0 {hex} a"], "line 3: 'a' is out of order or repeated"),
        (["F 0 {hex} b", "F 0 {hex} a"], "line 3: 'a' is out of order or repeated"),
        (["D a", "F 0 {hex} a"], "line 3: 'a' is out of order or repeated"),
        (["F 0 {hex} a", "F 0 {hex} a/b"], "line 3: 'a/b' lies below 'a', itself a member"),
        (["D a", "F 0 {hex} a/b"], "line 3: 'a/b' lies below 'a', itself a member"),
        (
            ["F 0 {hex} a", "F 0 {hex} a!", "F 0 {hex} a!/x"],
            "line 4: 'a!/x' lies below 'a!', itself a member",
        ),
        (["F 0 {hex} a", "F 0 {hex} a.b", "D a/b/c"], "line 4: 'a/b/c' lies below 'a', itself a member"),
        (["F 0 {hex} a", "F 0 {hex} a!", "F 0 {hex} a!.", "D a!/b"], "line 5: 'a!/b' lies below 'a!'"),
        (["F 00 {hex} a"], "line 2 is neither"),
        (["F 01 {hex} a"], "line 2 is neither"),
        (["F -1 {hex} a"], "line 2 is neither"),
        (["F +1 {hex} a"], "line 2 is neither"),
        (["F 10000000000000000000 {hex} a"], "line 2 is neither"),
        (["F 9223372036854775808 {hex} a"], "line 2: the book has more than 9007199254740991 bytes"),
        (["F 9007199254740991 {hex} a", "F 1 {hex} b"], "line 3: the book has more than 9007199254740991 bytes"),
        (["F 1 {hex}"], "line 2 is neither"),
        (["F 1 {hex} "], "line 2 is neither"),
        (["F  1 {hex} a"], "line 2 is neither"),
        (["F 1 abc a"], "line 2 is neither"),
        (["f 1 {hex} a"], "line 2 is neither"),
        (["D "], "line 2 is neither"),
        ([""], "line 2 is neither"),
        (["L a"], "line 2 is neither"),
        (["D ../a"], "line 2: member '../a' has the component '..'"),
        (["D /a"], "line 2: member '/a' is absolute"),
        (["D a\r"], "line 2: member 'a\\r' contains a control character"),
        (["D " + "x" * 256], "has a component longer than 255 bytes"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(lines: list[str], message: str) -> None:
    """A receiver refuses the whole book; the message says where to look."""
    text = HEADER + "".join(f"{line.replace('{hex}', EMPTY_HEX)}\n" for line in lines).encode()
    with pytest.raises(ManifestInvalid) as caught:
        _read(text)
    assert message in caught.value.message


def test_siblings_that_merely_begin_alike_are_accepted() -> None:
    """ "a", "a!", "a.b" and "a0/c" lie beside one another, not below."""
    found: list[Member] = [_file("a"), _file("a!/x"), _file("a.b"), _file("a0/c"), _file("b/c"), _file("b/d")]
    assert _read(_text(found)) == found


def test_the_largest_book_is_accepted() -> None:
    """2^53 - 1 bytes, as much as any file may claim."""
    assert _read(_text([_file("a", 2**53 - 2), _file("b", 1)])) == [_file("a", 2**53 - 2), _file("b", 1)]


@pytest.mark.parametrize("text", [b"", b"librarian-manifest 1", HEADER + b"D a"])
def test_a_manifest_that_was_cut_is_refused(text: bytes) -> None:
    """Its end is the end of a line."""
    with pytest.raises(ManifestInvalid, match="ends in the middle of a line"):
        _read(text)


@pytest.mark.parametrize("text", [b"\n", b"librarian-manifest 2\n", b"librarian-manifest 1\r\n", b"D a\n"])
def test_another_header_is_refused(text: bytes) -> None:
    """Another version may mean other things by the same lines."""
    with pytest.raises(ManifestInvalid, match="manifest begins with"):
        _read(text)


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    """It is refused as soon as it is longer than any line can be."""
    reader = ManifestReader()
    assert list(reader.feed(HEADER + b"D ")) == []
    assert list(reader.feed(b"x" * (MAX_LINE_BYTES - 2))) == []
    with pytest.raises(ManifestInvalid, match=f"manifest line 2 is longer than {MAX_LINE_BYTES} bytes"):
        list(reader.feed(b"x"))


def test_the_longest_line_fits() -> None:
    """Sixteen digits and a path of 1024 bytes."""
    longest = line(_file("/".join(["x" * 204] * 5), 2**53 - 1))
    assert len(longest) <= MAX_LINE_BYTES
    reader = ManifestReader()
    assert list(reader.feed(HEADER + longest[:-1])) == []
    assert len(list(reader.feed(b"\n"))) == 1


def test_an_empty_book_has_a_digest() -> None:
    """Its manifest is the header alone."""
    reader = ManifestReader()
    assert list(reader.feed(HEADER)) == []
    assert reader.finish() == Digest.blake3(HEADER)


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_arbitrary_bytes_are_refused_and_never_crash(chunks: list[bytes]) -> None:
    """With and without a good header before them; what is accepted is canonical, byte for byte."""
    for text in (b"".join(chunks), HEADER + b"".join(chunks)):
        try:
            found = list(read([text]))
        except ManifestInvalid:
            continue
        assert _text(found) == text
