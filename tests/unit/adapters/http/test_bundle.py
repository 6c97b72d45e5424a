"""The frames of bundles."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian_adapters.contract import Part
from librarian_adapters.http.bundle import (
    MAX_HEADER_BYTES,
    MAX_ITEMS,
    MAX_REQUEST_BYTES,
    Asked,
    Frame,
    FrameReader,
    decode_request,
    encode_error,
    encode_frame,
)
from librarian_protocol import wire
from librarian_protocol.digests import Digest
from librarian_protocol.errors import ArgumentInvalid, SourceInvalid
from librarian_protocol.names import MemberPath

LARGEST = 200
DIGEST = Digest.blake3(b"")
INDEX = st.integers(0, MAX_ITEMS - 1)
ENCODED = st.one_of(
    st.builds(encode_frame, INDEX, st.binary(max_size=LARGEST)),
    st.builds(encode_error, INDEX, st.just("E301"), st.text(st.characters(codec="utf-8"), max_size=700)),
)


def fed(reader: FrameReader, data: bytes, cuts: list[int]) -> list[Frame]:
    """Frames found when the data comes in pieces."""
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    pieces = [data[begin:end] for begin, end in pairwise(places)]
    return [frame for piece in pieces for frame in reader.feed(piece)]


@given(st.lists(ENCODED, max_size=8), st.lists(st.integers(0, 2000), max_size=8))
def test_frames_survive_any_cutting_of_the_stream(frames: list[bytes], cuts: list[int]) -> None:
    whole, cut = FrameReader(LARGEST), FrameReader(LARGEST)
    found = fed(cut, b"".join(frames), cuts)
    cut.finish()
    assert found == list(whole.feed(b"".join(frames)))
    assert len(found) == len(frames)


@given(INDEX, st.binary(max_size=LARGEST))
def test_a_frame_brings_its_item_and_bytes(item: int, body: bytes) -> None:
    [frame] = FrameReader(LARGEST).feed(encode_frame(item, body))
    assert (frame.head.item, frame.body, frame.head.code) == (item, body, "")


@given(ENCODED, st.integers(1, 2000))
def test_a_stream_that_ends_inside_a_frame_is_refused(frame: bytes, missing: int) -> None:
    reader = FrameReader(LARGEST)
    kept = frame[: -min(missing, len(frame))]
    assert list(reader.feed(kept)) == []
    if kept:
        with pytest.raises(SourceInvalid, match="ends inside a frame"):
            reader.finish()
    else:
        reader.finish()


@given(st.binary(max_size=500), st.lists(st.integers(0, 500), max_size=5))
def test_any_bytes_are_frames_or_refused(data: bytes, cuts: list[int]) -> None:
    reader = FrameReader(LARGEST)
    with suppress(SourceInvalid):
        fed(reader, data, cuts)
        reader.finish()


@pytest.mark.parametrize(
    "stream",
    [
        (MAX_HEADER_BYTES + 1).to_bytes(4, "big"),
        b"\xff\xff\xff\xff",
        b"\0\0\0\0",
        b"\0\0\0\x02[]",
        b"\0\0\0\x02{}",
        b"\0\0\0\x02\xff\xff",
        encode_frame(0, b"x" * (LARGEST + 1))[:60],
        b"\0\0\0\x0b" + b'{"item":-1}',
        b"\0\0\0\x0d" + b'{"item":1000}',
        b"\0\0\0\x29" + b'{"item":1,"size_bytes":5,"code":"E301"}  ',
    ],
)
def test_a_header_that_breaks_a_rule_is_refused_at_once(stream: bytes) -> None:
    with pytest.raises(SourceInvalid, match="bundle"):
        list(FrameReader(LARGEST).feed(stream))


def test_of_a_frame_on_its_way_the_bytes_so_far_are_told() -> None:
    reader = FrameReader(LARGEST)
    frame = encode_frame(7, b"0123456789")
    seen = [reader.partial]
    for piece in (frame[:-4], frame[-4:]):
        list(reader.feed(piece))
        seen.append(reader.partial)
    assert seen == [None, (7, 6), None]


def test_the_largest_request_fits_its_limit() -> None:
    member = MemberPath.parse("/".join(['"' * 255] * 4))
    asked = Asked(digest=DIGEST, part=Part.MEMBER, member=member, size_bytes=1 << 20)
    body = wire.encode([asked] * MAX_ITEMS)
    assert len(body) <= MAX_REQUEST_BYTES
    assert decode_request(body) == [asked] * MAX_ITEMS


def test_the_longest_message_fits_a_header() -> None:
    [frame] = FrameReader(0).feed(encode_error(999, "E301", "\U0001f52d" * 5000))
    assert frame.head.code == "E301"
    [frame] = FrameReader(0).feed(encode_error(999, "E301", "\x01" * 5000))
    assert frame.head.message.startswith("\x01")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[1]",
        b'[{"digest":"blake3:00","part":"file","size_bytes":1}]',
        wire.encode([{"digest": DIGEST, "part": "file", "size_bytes": -1}]),
        wire.encode([{"digest": DIGEST, "part": "dir", "size_bytes": 1}]),
        wire.encode([{"digest": DIGEST, "part": "member", "member": "../x", "size_bytes": 1}]),
        wire.encode([{"digest": DIGEST, "part": "file", "size_bytes": 1}] * (MAX_ITEMS + 1)),
        b"[" * 100_000,
    ],
)
def test_a_request_that_breaks_a_rule_is_refused(body: bytes) -> None:
    with pytest.raises(ArgumentInvalid, match="bundle request"):
        decode_request(body)
