"""What version 1 wrote can be read for ever: the golden samples are never changed, only added to."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from blake3 import blake3
from tests.unit.protocol import samples, test_tokens

from librarian_protocol import segments, tokens, wire
from librarian_protocol.entries import KINDS
from librarian_protocol.keys import Purpose, verify
from librarian_protocol.manifest import HEADER, ManifestReader, MemberDirectory, MemberFile, line

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
SEGMENTS = GOLDEN / "segments"
#: Of the fixed test key; written out, so that a change of how keys are derived is seen.
PUBLIC = "ed25519:03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"


def _load(kind: str) -> tuple[bytes, str]:
    return (SEGMENTS / f"{kind}.json").read_bytes(), (SEGMENTS / f"{kind}.sig").read_text()


def test_there_is_a_golden_segment_of_every_kind() -> None:
    """And of none that is not known."""
    assert {path.stem for path in SEGMENTS.glob("*.json")} == set(KINDS)


@pytest.mark.parametrize("entry", samples.ENTRIES, ids=lambda entry: type(entry).__name__)
def test_a_golden_segment_is_read_and_written_again_byte_for_byte(entry: msgspec.Struct) -> None:
    """Signature, entries, and the very bytes."""
    (kind,) = (kind for kind, struct in KINDS.items() if struct is type(entry))
    payload, signature = _load(kind)
    assert samples.SUMMIT_KEY.public == PUBLIC
    segment = segments.open_signed(payload, signature, site=samples.SUMMIT, key=PUBLIC)
    assert segment.kind == kind
    entries = segments.entries_of(segment)
    assert entries is not None
    assert entries == [msgspec.structs.replace(entry, seq=segment.first_seq, at=samples.AT)]
    assert [wire.encode(entry) for entry in entries] == [bytes(raw) for raw in segment.entries]
    assert wire.encode(segment) == payload
    assert samples.SUMMIT_KEY.sign(Purpose.SEGMENT, payload) == signature


def test_the_golden_segments_are_one_unbroken_journal() -> None:
    """Each names the hash of the one before it."""
    payloads = [_load(kind)[0] for kind in KINDS]
    found = sorted(payloads, key=lambda payload: segments.decode(payload).first_seq)
    prev, seq = segments.NO_HASH, 0
    for payload in found:
        segment = segments.decode(payload)
        assert (segment.prev, segment.first_seq) == (prev, seq + 1)
        prev, seq = segments.hash_of(payload), segment.last_seq
        assert prev == blake3(payload).hexdigest()
    assert seq == len(samples.ENTRIES)


def test_a_segment_of_an_unknown_kind_takes_its_place_and_waits() -> None:
    """What a later version sends: signed, chained, kept raw."""
    payload, _ = _load("store.retired")
    later = payload.replace(b"store.retired", b"store.borrowed")
    signature = samples.SUMMIT_KEY.sign(Purpose.SEGMENT, later)
    segment = segments.open_signed(later, signature, site=samples.SUMMIT, key=PUBLIC)
    assert segments.entries_of(segment) is None
    assert wire.encode(segment) == later


def test_the_golden_token_is_read_and_written_again() -> None:
    """An invitation printed by an older version is still good."""
    text = (GOLDEN / "token.txt").read_text()
    assert tokens.decode(text) == test_tokens.TOKEN
    assert tokens.encode(test_tokens.TOKEN) == text


def test_the_golden_join_request_is_read_and_proved() -> None:
    """A newcomer with an older version is still admitted."""
    request, sealed = tokens.read((GOLDEN / "join.json").read_bytes())
    assert request == test_tokens.REQUEST
    assert tokens.is_proved(sealed, test_tokens.SECRET)
    raw = sealed.request.encode()
    verify(request.key, Purpose.JOIN, raw, sealed.signature)
    assert sealed.proof == blake3(raw, key=bytes.fromhex(test_tokens.SECRET)).hexdigest()


def test_the_golden_manifest_has_its_digest() -> None:
    """A book's digest never changes."""
    text = (GOLDEN / "book.manifest").read_bytes()
    reader = ManifestReader()
    members = list(reader.feed(text))
    assert reader.finish() == (GOLDEN / "book.digest").read_text()
    assert (reader.files, reader.size_bytes) == (3, 8)
    assert HEADER + b"".join(line(member) for member in members) == text
    assert [type(member) for member in members] == [MemberFile, MemberFile, MemberDirectory, MemberFile]
