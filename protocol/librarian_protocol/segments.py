"""Segments: runs of journal entries of one kind, signed once, sent as one bus message (docs/events.md).

A segment is UTF-8 JSON that anyone can read with any NATS tool::

    {"v":1,"site":…,"epoch":…,"incarnation":…,"first_seq":…,"prev":…,"kind":…,"entries":[{"seq":…,"at":…,…},…]}

``seq`` counts entries from 1 and continues for the life of the site; ``prev`` is the hash of the site's
previous segment, 64 zeros for the first. The hash is the blake3 of the payload and nothing else enters it.
The signature is Ed25519 of the site key over ``"librarian/segment/1\\n"`` and the payload; it travels beside
the payload, whose bytes are kept as received.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Annotated

import msgspec
from blake3 import blake3
from msgspec import Meta

from librarian_protocol import wire
from librarian_protocol.entries import KINDS, MAX_INTEGER, Entry, IncarnationId, Seq, kind_of
from librarian_protocol.errors import SegmentInvalid, SignatureInvalid
from librarian_protocol.keys import Purpose, verify
from librarian_protocol.names import SiteName

VERSION = 1
#: Half of the bus's ``max_payload`` would be 512 KiB; 192 KiB keeps several segments in one pull of 1 MiB.
MAX_SEGMENT_BYTES = 192 * 1024
#: Enough to pay for one durable publish (nats/README.md).
MAX_ENTRIES = 512
#: ``prev`` of a site's first segment.
NO_HASH = "0" * 64

Hash = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}(?!\n)$")]


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """A decoded segment; the entries are decoded by :func:`entries_of`, for an unknown kind not at all."""

    v: int
    site: SiteName
    epoch: Seq
    incarnation: IncarnationId
    first_seq: Annotated[int, Meta(ge=1, le=MAX_INTEGER)]
    prev: Hash
    kind: Annotated[str, Meta(pattern=r"^[a-z]{1,32}\.[a-z]{1,32}(?!\n)$")]
    entries: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=MAX_ENTRIES)]

    @property
    def last_seq(self) -> int:
        """The number of the last entry."""
        return self.first_seq + len(self.entries) - 1


class _Numbered(msgspec.Struct):
    seq: int


_SEGMENT = wire.decoder(Segment)
_NUMBERED = wire.decoder(_Numbered)
_ENTRY = {kind: wire.decoder(entry) for kind, entry in KINDS.items()}


def hash_of(payload: bytes) -> str:
    """The hash by which a segment is known: blake3 of its bytes, 64 hex digits."""
    return blake3(payload).hexdigest()


def decode(payload: bytes) -> Segment:
    """Decode and check everything that a segment can be checked for by itself, its signature apart.

    Whether a field stands twice is looked at where it comes in (:func:`opened_first`).

    Raises:
        SegmentInvalid: it is too large, is not of the form above, or its numbers contradict one another.
    """
    if len(payload) > MAX_SEGMENT_BYTES:
        raise SegmentInvalid(f"segment has {len(payload)} bytes; {MAX_SEGMENT_BYTES} are allowed")
    try:
        payload.decode()  # fields that are not known here are skipped, but stay UTF-8
        segment = _SEGMENT.decode(payload)
        numbers = [_NUMBERED.decode(raw).seq for raw in segment.entries]
    except wire.NOT_DECODABLE as exc:
        raise SegmentInvalid(f"segment does not decode: {wire.why(exc)}") from exc
    if segment.v != VERSION:
        raise SegmentInvalid(f"segment is of version {segment.v}; this software reads version {VERSION}")
    if segment.last_seq > MAX_INTEGER or numbers != list(range(segment.first_seq, segment.last_seq + 1)):
        raise SegmentInvalid(f"segment's entries are not numbered from {segment.first_seq} in steps of one")
    if (segment.first_seq == 1) != (segment.prev == NO_HASH):
        raise SegmentInvalid("only a site's first segment has no predecessor")
    return segment


def open_signed(payload: bytes, signature: str, *, site: SiteName, key: str) -> Segment:
    """Decode a segment that must come from ``site``, and be signed with this key.

    Raises:
        SegmentInvalid: as :func:`decode`; or another site's name stands in it.
        SignatureInvalid: it was not signed by that key.
    """
    return open_of_member(payload, signature, site=site, keys=[key])[0]


def open_of_member(payload: bytes, signature: str, *, site: SiteName, keys: Sequence[str]) -> tuple[Segment, str]:
    """The same for a site that had several keys. Also returns which one signed it; whether that key counts is not
    checked.

    Raises:
        SegmentInvalid: as :func:`decode`; or another site's name stands in it.
        SignatureInvalid: none of the keys signed it.
    """
    if len(payload) > MAX_SEGMENT_BYTES:
        raise SegmentInvalid(f"segment has {len(payload)} bytes; {MAX_SEGMENT_BYTES} are allowed")
    signer = keys[-1]
    for key in keys[:-1]:
        with suppress(SignatureInvalid):
            verify(key, Purpose.SEGMENT, payload, signature)
            signer = key
            break
    verify(signer, Purpose.SEGMENT, payload, signature)
    segment = opened_first(payload)
    if segment.site != site:
        raise SegmentInvalid(f"segment of site {segment.site!r} arrived as one of site {site!r}")
    return segment, signer


def opened_first(payload: bytes) -> Segment:
    """As :func:`decode`, of bytes that come from outside: no field may stand twice in them.

    Raises:
        SegmentInvalid: as :func:`decode`; or a field stands twice.
    """
    segment = decode(payload)
    try:
        wire.check_fields(payload)
    except wire.NOT_DECODABLE as exc:
        raise SegmentInvalid(f"segment does not decode: {wire.why(exc)}") from exc
    return segment


def entries_of(segment: Segment) -> list[Entry | SegmentInvalid] | None:
    """The entries, or None where the kind is not known to this version.

    A signed entry that breaks a rule (a name with ``..``, say) stands in its list as the error that says which:
    it is never applied, by anybody, and what stands beside it goes on.
    """
    entry_decoder = _ENTRY.get(segment.kind)
    if entry_decoder is None:
        return None
    found: list[Entry | SegmentInvalid] = []
    for raw in segment.entries:
        try:
            found.append(entry_decoder.decode(raw))
        except wire.NOT_DECODABLE as exc:
            number = segment.first_seq + len(found)
            found.append(SegmentInvalid(f"entry {number} of site {segment.site!r} ({segment.kind}): {wire.why(exc)}"))
    return found


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Where a site's own journal ends: what the next segment continues."""

    site: SiteName
    epoch: int
    incarnation: str
    #: Number of the last entry; 0 for an empty journal.
    seq: int
    #: Hash of the last segment; 64 zeros for an empty journal.
    hash: str


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """A segment that was just cut from the journal's end, not yet signed."""

    segment: Segment
    entries: list[Entry]
    payload: bytes
    hash: str


def cut(position: Position, entries: Iterable[Entry], at: str) -> Iterator[Cut]:
    """Number the entries and cut them into segments, in order.

    A segment ends where the kind changes or a limit is reached. ``at`` is stamped on every entry. One that has its
    number and its stamp already stays as it is.

    Raises:
        SegmentInvalid: one entry alone is larger than a segment may be, or would be refused by its readers.
    """
    run: list[Entry] = []
    for entry in entries:
        if run and type(entry) is not type(run[0]):
            position = yield from _cut_run(position, run, at)
            run = []
        run.append(entry)
    if run:
        yield from _cut_run(position, run, at)


def _cut_run(position: Position, run: Sequence[Entry], at: str) -> Generator[Cut, None, Position]:
    kind = kind_of(run[0])
    numbered: list[Entry] = []
    raws: list[msgspec.Raw] = []
    size_bytes = 0
    for bare in run:
        seq = position.seq + len(raws) + 1
        entry = bare if bare.seq == seq and bare.at == at else msgspec.structs.replace(bare, seq=seq, at=at)
        raw = wire.encode(entry)
        if raws and (len(raws) == MAX_ENTRIES or size_bytes + len(raw) > _ENTRIES_BYTES):
            done = _seal(position, kind, numbered, raws)
            yield done
            position = following(position, done)
            numbered, raws, size_bytes = [], [], 0
        if len(raw) > _ENTRIES_BYTES:
            raise SegmentInvalid(f"one {kind} entry has {len(raw)} bytes; {_ENTRIES_BYTES} are allowed")
        numbered.append(entry)
        raws.append(msgspec.Raw(raw))
        size_bytes += len(raw) + 1
    done = _seal(position, kind, numbered, raws)
    yield done
    return following(position, done)


#: What is left for entries when the segment's own fields are counted generously.
_ENTRIES_BYTES = MAX_SEGMENT_BYTES - 1024


def _seal(position: Position, kind: str, entries: list[Entry], raws: list[msgspec.Raw]) -> Cut:
    segment = Segment(
        v=VERSION,
        site=position.site,
        epoch=position.epoch,
        incarnation=position.incarnation,
        first_seq=position.seq + 1,
        prev=position.hash,
        kind=kind,
        entries=raws,
    )
    payload = wire.encode(segment)
    # What is signed can never be taken back: an entry that its readers would refuse is refused here.
    for entry in entries_of(decode(payload)) or ():
        if isinstance(entry, SegmentInvalid):
            raise entry
    return Cut(segment=segment, entries=entries, payload=payload, hash=hash_of(payload))


def following(position: Position, done: Cut) -> Position:
    """Where the journal ends after a segment was appended."""
    return msgspec.structs.replace(position, seq=done.segment.last_seq, hash=done.hash)
