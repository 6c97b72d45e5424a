"""What is kept beside bytes and name: modes, times, and the list of a book's members."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.protocol import samples

from librarian_protocol import attributes, wire
from librarian_protocol.attributes import HEADER, OfMember, bounded, file_mode, is_executable, line, read, rfc3339
from librarian_protocol.digests import Digest
from librarian_protocol.entries import MAX_INTEGER, FileAttributed, Unit
from librarian_protocol.errors import ManifestInvalid

MEMBERS = st.lists(st.builds(OfMember, st.integers(-MAX_INTEGER, MAX_INTEGER), st.booleans()), max_size=30)


@given(members=MEMBERS, cuts=st.lists(st.integers(0, 800), max_size=5))
def test_a_list_is_read_as_it_was_written_wherever_it_is_cut(members: list[OfMember], cuts: list[int]) -> None:
    text = HEADER + b"".join(map(line, members))
    ends = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    assert list(read(text[begin:end] for begin, end in pairwise(ends))) == members
    assert len(text) <= attributes.max_bytes(len(members))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "in the middle of a line"),
        (HEADER[:-1], "in the middle of a line"),
        (HEADER + b"5", "in the middle of a line"),
        (b"librarian-manifest 1\n", "begins with"),
        (HEADER + b"5\n05\n", "line 3 "),
        (HEADER + b"-0\n", "line 2 "),
        (HEADER + b"5 y\n", "line 2 "),
        (HEADER + b"5  x\n", "line 2 "),
        (HEADER + b"5x\n", "line 2 "),
        (HEADER + b"\n", "line 2 "),
        (HEADER + b"9223372036854775808\n", "line 2 "),
        (HEADER + b"\xff\n", "line 2 "),
        (HEADER + b"5" * 40, "line 2 of a list of attributes is longer"),
    ],
)
def test_what_is_no_list_is_refused_with_the_line(text: bytes, why: str) -> None:
    with pytest.raises(ManifestInvalid, match=re.escape(why)):
        list(read([text]))


@pytest.mark.parametrize(
    ("base", "expected"), [(0o444, 0o555), (0o440, 0o550), (0o400, 0o500), (0o640, 0o750), (0o000, 0o000)]
)
def test_who_may_read_an_executable_may_execute_it(base: int, expected: int) -> None:
    assert (file_mode(base, executable=True), file_mode(base, executable=False)) == (expected, base)


def test_what_its_owner_may_execute_is_executable() -> None:
    assert [is_executable(mode) for mode in (0o755, 0o100, 0o644, 0o011)] == [True, True, False, False]


def test_times_beyond_what_can_be_said_become_the_nearest() -> None:
    assert [bounded(time) for time in (5, 1 << 70, -(1 << 70))] == [5, MAX_INTEGER, -MAX_INTEGER]


def test_times_are_shown_as_everywhere() -> None:
    assert rfc3339(1_000_000_000_123_456_789) == "2001-09-09T01:46:40.123456Z"
    assert rfc3339(-1) == "1969-12-31T23:59:59.999999Z"
    assert rfc3339(MAX_INTEGER) == "2262-04-11T23:47:16.854775Z"


def test_a_list_is_known_by_its_blake3_alone() -> None:
    said = FileAttributed(name=samples.NAME, digest=samples.DIGEST, size_bytes=1, unit=Unit.BOOK)
    payload = wire.encode(said)
    decoder = wire.decoder(FileAttributed)
    assert decoder.decode(payload) == said
    with pytest.raises(wire.NOT_DECODABLE, match="not by md5"):
        decoder.decode(payload.replace(b'"list":null', b'"list":"md5:%s"' % (b"0" * 32)))
    other = FileAttributed(
        name=samples.NAME, digest=samples.DIGEST, size_bytes=1, unit=Unit.BOOK, list=Digest.blake3(b"")
    )
    assert decoder.decode(wire.encode(other)) == other
