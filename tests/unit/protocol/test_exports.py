"""Exported files: whatever is left out, added, altered or cut off is found."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
import zstandard
from tests.unit.protocol import samples
from tests.unit.protocol.samples import ARCHIVE_KEY, AT, SUMMIT, SUMMIT_KEY

from librarian_protocol import exports, segments
from librarian_protocol.errors import SegmentInvalid, SignatureInvalid
from librarian_protocol.exports import Begin, End, ExportReader, Line, Record
from librarian_protocol.keys import Purpose, SiteKey


def file(count: int = 3, signer: SiteKey = SUMMIT_KEY, version: int = 1) -> list[bytes]:
    """The lines of a good one."""
    begin = Begin(
        v=version, mesh="0" * 32, by=SUMMIT, key=SUMMIT_KEY.public, at=AT, anchor=SUMMIT, anchor_key=SUMMIT_KEY.public
    )
    made: list[Line] = [begin]
    position = samples.EMPTY_JOURNAL
    for number in range(count):
        (done,) = segments.cut(position, [samples.ingested(f"f{number}")], AT)
        position = segments.following(position, done)
        signature = SUMMIT_KEY.sign(Purpose.SEGMENT, done.payload)
        made.append(Record(payload=done.payload.decode(), signature=signature))
    lines, chain = [exports.encode(line) for line in made], exports.NO_CHAIN
    for line in lines:
        chain = exports.link(chain, line)
    end = End(segments=count, chain=chain, signature=signer.sign(Purpose.EXPORT, chain.encode()))
    return [*lines, exports.encode(end)]


def read(lines: list[bytes]) -> list[Record]:
    """All records, if the file is whole."""
    reading = ExportReader()
    found = [record for line in lines if (record := reading.feed(line)) is not None]
    assert reading.finish().by == SUMMIT
    return found


def test_a_whole_file_is_read() -> None:
    assert [segments.decode(record.payload.encode()).first_seq for record in read(file())] == [1, 2, 3]
    assert read(file(0)) == []


SPOILT: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "left-out": lambda f: [*f[:2], *f[3:]],
    "swapped": lambda f: [f[0], f[2], f[1], *f[3:]],
    "altered": lambda f: [*f[:2], f[2].replace(b"f1", b"g1"), *f[3:]],
    "twice": lambda f: [*f[:3], f[2], *f[3:]],
    "no-end": lambda f: f[:-1],
    "empty": lambda _: [],
    "no-begin": lambda f: f[1:],
    "begun-twice": lambda f: [f[0], *f],
    "behind-the-end": lambda f: [*f, f[1]],
    "cut-line": lambda f: [*f[:-1], f[-1][:-1]],
    "rubbish": lambda f: [f[0], b"{}\n", *f[1:]],
    "too-long": lambda f: [f[0], b"x" * exports.MAX_LINE_BYTES + b"\n"],
    "later-version": lambda _: file(version=2),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_file_that_is_not_whole_is_refused(how: str) -> None:
    with pytest.raises(SegmentInvalid):
        read(SPOILT[how](file()))


def test_an_end_that_another_signed_is_refused() -> None:
    with pytest.raises(SignatureInvalid):
        read(file(signer=ARCHIVE_KEY))


def test_a_compressed_file_is_read_line_by_line() -> None:
    packed = zstandard.ZstdCompressor().compress(b"".join(file()))
    found = list(exports.records(io.BytesIO(packed), ExportReader()))
    assert [segments.decode(record.payload.encode()).first_seq for record in found] == [1, 2, 3]


def test_a_damaged_file_is_refused() -> None:
    with pytest.raises(SegmentInvalid, match="not an exported journal"):
        list(exports.lines(io.BytesIO(b"no zstd at all")))
