"""Segments: decoding, signatures, and cutting a journal's end into them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.protocol import samples
from tests.unit.protocol.samples import (
    ARCHIVE,
    ARCHIVE_KEY,
    AT,
    EMPTY_JOURNAL,
    ENTRIES,
    STORE,
    SUMMIT,
    SUMMIT_KEY,
    ingested,
)

from librarian_protocol import segments, wire
from librarian_protocol.entries import (
    Access,
    AdapterOffer,
    Dial,
    Entry,
    FileIngested,
    SiteAdmitted,
    SiteAnnounced,
    StoreRetired,
    kind_of,
)
from librarian_protocol.errors import PeerError, SegmentInvalid, SignatureInvalid
from librarian_protocol.keys import Purpose
from librarian_protocol.segments import (
    MAX_ENTRIES,
    MAX_SEGMENT_BYTES,
    NO_HASH,
    Cut,
    Position,
    cut,
    decode,
    entries_of,
    following,
    hash_of,
    open_signed,
)

ONE = next(cut(EMPTY_JOURNAL, [ingested()], AT))
SIGNATURE = SUMMIT_KEY.sign(Purpose.SEGMENT, ONE.payload)


def _plain(**fields: object) -> bytes:
    plain: dict[str, object] = msgspec.json.decode(ONE.payload)
    return msgspec.json.encode({**plain, **fields})


def test_a_segment_is_json_with_its_fields_in_this_order() -> None:
    """Anyone can read it with any tool."""
    assert ONE.payload == (
        b'{"v":1,"site":"summit","epoch":1,"incarnation":"0f1e2d3c4b5a6978","first_seq":1,"prev":"'
        + b"0" * 64
        + b'","kind":"file.ingested","entries":[{"seq":1,"at":"2026-01-02T03:04:05.000006Z","name":"a",'
        + b'"digest":"'
        + ingested().digest.encode()
        + b'","size_bytes":1,"unit":"file","store":"00112233445566778899aabbccddeeff","mtime_ns":0,'
        + b'"uploader":null,"members":null}]}'
    )
    assert ONE.hash == hash_of(ONE.payload) == blake3(ONE.payload).hexdigest()


def test_the_limits_are_those_of_the_design() -> None:
    """192 KiB, 512 entries; peers refuse what is larger."""
    assert (MAX_SEGMENT_BYTES, MAX_ENTRIES, segments.VERSION, NO_HASH) == (196_608, 512, 1, "0" * 64)


def test_a_decoded_segment_is_the_one_that_was_cut() -> None:
    """Nothing is lost on the way."""
    segment = decode(ONE.payload)
    assert segment == ONE.segment
    assert entries_of(segment) == ONE.entries
    assert (segment.first_seq, segment.last_seq) == (1, 1)


def test_a_signed_segment_of_its_site_opens() -> None:
    """With the key of the roster."""
    assert open_signed(ONE.payload, SIGNATURE, site=SUMMIT, key=SUMMIT_KEY.public) == ONE.segment


@given(st.integers(min_value=0, max_value=len(ONE.payload) * 8 - 1))
def test_any_flipped_bit_of_the_payload_is_refused(bit: int) -> None:
    """Even where the JSON would mean the same."""
    flipped = bytearray(ONE.payload)
    flipped[bit // 8] ^= 1 << (bit % 8)
    with pytest.raises(SignatureInvalid):
        open_signed(bytes(flipped), SIGNATURE, site=SUMMIT, key=SUMMIT_KEY.public)


@given(st.integers(min_value=0, max_value=511))
def test_any_flipped_bit_of_the_signature_is_refused(bit: int) -> None:
    """No signature is good in two forms."""
    flipped = bytearray(bytes.fromhex(SIGNATURE))
    flipped[bit // 8] ^= 1 << (bit % 8)
    with pytest.raises(SignatureInvalid):
        open_signed(ONE.payload, flipped.hex(), site=SUMMIT, key=SUMMIT_KEY.public)


def test_a_segment_signed_by_another_site_is_refused() -> None:
    """The key comes from the roster, never from the message."""
    with pytest.raises(SignatureInvalid, match="does not fit"):
        open_signed(ONE.payload, SIGNATURE, site=SUMMIT, key=ARCHIVE_KEY.public)


def test_a_segment_that_names_another_site_is_refused() -> None:
    """Site = stream = signer, however well it is signed."""
    signature = ARCHIVE_KEY.sign(Purpose.SEGMENT, ONE.payload)
    with pytest.raises(SegmentInvalid, match="segment of site 'summit' arrived as one of site 'archive'"):
        open_signed(ONE.payload, signature, site=ARCHIVE, key=ARCHIVE_KEY.public)


def test_a_segment_that_is_too_large_is_refused_before_it_is_read() -> None:
    """The limit itself is allowed."""
    padded = ONE.payload + b" " * (MAX_SEGMENT_BYTES - len(ONE.payload))
    assert decode(padded) == ONE.segment
    with pytest.raises(SegmentInvalid, match="segment has 196609 bytes; 196608 are allowed"):
        decode(padded + b" ")
    with pytest.raises(SegmentInvalid, match="segment has 196609 bytes; 196608 are allowed"):
        open_signed(padded + b" ", SIGNATURE, site=SUMMIT, key=SUMMIT_KEY.public)


CONTRADICTIONS: list[tuple[dict[str, object], str]] = [
    ({"v": 2}, "segment is of version 2; this software reads version 1"),
    ({"v": 0}, "segment is of version 0"),
    ({"site": "rpc"}, "is reserved"),
    ({"epoch": -1}, r"\$\.epoch"),
    ({"incarnation": "0" * 15}, r"\$\.incarnation"),
    ({"incarnation": "0" * 16 + "\n"}, r"\$\.incarnation"),
    ({"first_seq": 0}, r"\$\.first_seq"),
    ({"first_seq": 1 << 63}, r"\$\.first_seq"),
    ({"prev": "0" * 63}, r"\$\.prev"),
    ({"prev": "0" * 64 + "\n"}, r"\$\.prev"),
    ({"kind": "file"}, r"\$\.kind"),
    ({"kind": "file.ingested.again"}, r"\$\.kind"),
    ({"kind": "file.ingested\n"}, r"\$\.kind"),
    ({"kind": "a" * 33 + ".b"}, r"\$\.kind"),
    ({"entries": []}, r"\$\.entries"),
    ({"entries": [{"seq": n} for n in range(1, MAX_ENTRIES + 2)]}, r"\$\.entries"),
    ({"entries": [{}]}, "missing required field `seq`"),
    ({"entries": [1]}, "Expected `object`"),
    ({"entries": [{"seq": 2}]}, "not numbered from 1 in steps of one"),
    ({"entries": [{"seq": 1}, {"seq": 3}]}, "not numbered from 1 in steps of one"),
    ({"entries": [{"seq": 1}, {"seq": 1}]}, "not numbered from 1 in steps of one"),
    ({"first_seq": 2, "entries": [{"seq": 2}]}, "only a site's first segment has no predecessor"),
    ({"prev": "1" * 64}, "only a site's first segment has no predecessor"),
    (
        {
            "first_seq": 2**63 - 1,
            "prev": "1" * 64,
            "entries": [{"seq": 2**63 - 1}, {"seq": 2**63}],
        },
        "not numbered",
    ),
]


@pytest.mark.parametrize(("fields", "message"), CONTRADICTIONS)
def test_a_segment_that_contradicts_the_form_is_refused(fields: dict[str, object], message: str) -> None:
    """Each condition by itself, all else being right."""
    with pytest.raises(SegmentInvalid, match=message):
        decode(_plain(**fields))


def test_the_very_last_number_is_accepted() -> None:
    """2^63 - 1 entries in the life of a site."""
    raw = _plain(first_seq=2**63 - 1, prev="1" * 64, entries=[{"seq": 2**63 - 1}])
    assert decode(raw).last_seq == 2**63 - 1


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused_and_never_crash(raw: bytes) -> None:
    """Signed or not."""
    with pytest.raises(SegmentInvalid):
        decode(raw)
    signature = SUMMIT_KEY.sign(Purpose.SEGMENT, raw)
    with pytest.raises(SegmentInvalid):
        open_signed(raw, signature, site=SUMMIT, key=SUMMIT_KEY.public)


@given(st.integers(min_value=0, max_value=len(ONE.payload) - 1), st.binary(max_size=4))
def test_a_good_segment_with_arbitrary_bytes_inside_raises_only_our_errors(place: int, splice: bytes) -> None:
    """What a signer with a bug could send."""
    raw = ONE.payload[:place] + splice + ONE.payload[place + 1 :]
    try:
        entries = entries_of(decode(raw))
    except PeerError:
        return
    assert entries is None or len(entries) == 1


@pytest.mark.parametrize(
    "hostile",
    [
        b'{"seq":1,"x":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"seq":1,"x":"\xff"}',
        b'{"seq":1,"\xff":0}',
        b'{"seq":1,"x":"\\ud800"}',
        b'{"seq":1e400}',
    ],
)
def test_hostile_entries_of_any_kind_raise_only_our_errors(hostile: bytes) -> None:
    """Deep nesting, bad UTF-8, half a surrogate pair, a number beyond all bounds."""
    kind_known = _plain(entries=["HERE"]).replace(b'"HERE"', hostile)
    kind_unknown = kind_known.replace(b"file.ingested", b"comet.sighted")
    for raw in (kind_known, kind_unknown):
        try:
            entries = entries_of(decode(raw))
        except SegmentInvalid:
            continue
        assert entries is None
        raw.decode()


def test_bad_utf8_is_refused_even_in_fields_that_are_not_read() -> None:
    """A segment is UTF-8 as a whole, so that every tool can read every journal."""
    raw = _plain(entries=[{"seq": 1, "x": "HERE"}], kind="comet.sighted")
    with pytest.raises(SegmentInvalid, match="segment does not decode"):
        decode(raw.replace(b"HERE", b"\xff"))


def test_a_bad_entry_is_named_by_its_number_and_does_not_hide_the_others() -> None:
    """A signed entry that breaks a rule is never applied; what stands beside it goes on."""
    good, bad = (msgspec.json.decode(wire.encode(ingested())) for _ in range(2))
    raw = _plain(first_seq=41, prev="1" * 64, entries=[{**good, "seq": 41}, {**bad, "seq": 42, "name": "../x"}])
    found = entries_of(decode(raw))
    assert found is not None
    first, second = found
    assert isinstance(first, FileIngested)
    assert first.seq == 41
    assert isinstance(second, SegmentInvalid)
    assert second.message == (
        "entry 42 of site 'summit' (file.ingested): name '../x' has the component '..' - at `$.name`"
    )


def test_a_segment_of_an_unknown_kind_is_kept_raw() -> None:
    """It takes its place in the chain; its entries wait for an upgrade, byte for byte."""
    raw = _plain(kind="comet.sighted", entries=[{"seq": 1, "tail": [1.5, None]}])
    segment = open_signed(raw, SUMMIT_KEY.sign(Purpose.SEGMENT, raw), site=SUMMIT, key=SUMMIT_KEY.public)
    assert entries_of(segment) is None
    assert [bytes(entry) for entry in segment.entries] == [b'{"seq":1,"tail":[1.5,null]}']


def test_fields_from_a_later_version_are_passed_over() -> None:
    """Adding a field is compatible; the hash and the signature are of the bytes as received."""
    raw = _plain(weather="fine")
    assert decode(raw) == ONE.segment
    assert hash_of(raw) != ONE.hash


# ---- cutting --------------------------------------------------------------------------------------


def _cut(entries: list[Entry], position: Position = EMPTY_JOURNAL) -> list[Cut]:
    return list(cut(position, entries, AT))


def test_nothing_is_cut_from_nothing() -> None:
    """A group without entries makes no segment."""
    assert _cut([]) == []


def test_a_segment_ends_where_the_kind_changes() -> None:
    """All entries of a segment are of one kind, and their order is kept."""
    entries: list[Entry] = [ingested("a"), ingested("b"), StoreRetired(store=STORE), ingested("c")]
    assert [(done.segment.kind, done.segment.first_seq, done.segment.last_seq) for done in _cut(entries)] == [
        ("file.ingested", 1, 2),
        ("store.retired", 3, 3),
        ("file.ingested", 4, 4),
    ]


def test_a_segment_ends_at_its_most_entries() -> None:
    """512 in one, the next in another."""
    sizes = [len(done.entries) for done in _cut([StoreRetired(store=STORE)] * (2 * MAX_ENTRIES + 1))]
    assert sizes == [512, 512, 1]
    assert len(_cut([StoreRetired(store=STORE)] * MAX_ENTRIES)) == 1


def test_a_segment_ends_before_it_is_too_large() -> None:
    """And is nearly full: two that would fit into one are not cut apart."""
    cuts = _cut([ingested(f"a{number}", "é" * 1000) for number in range(300)])
    assert len(cuts) > 2
    for done in cuts[:-1]:
        assert MAX_SEGMENT_BYTES - 4096 < len(done.payload) <= MAX_SEGMENT_BYTES


def test_the_longest_envelope_leaves_room_for_full_entries() -> None:
    """The longest site name and the greatest numbers, filled to the brim."""
    position = msgspec.structs.replace(
        EMPTY_JOURNAL, site=type(SUMMIT).parse("s" * 31), epoch=2**63 - 1, seq=2**62, hash="f" * 64
    )
    cuts = _cut([ingested(f"a{number}", "x" * (number % 1024)) for number in range(2000)], position)
    assert max(len(done.payload) for done in cuts) <= MAX_SEGMENT_BYTES


def test_the_journal_goes_on_where_it_ended() -> None:
    """Numbers and hashes continue from one group to the next, as if there had been one."""
    first = _cut(ENTRIES[:3])
    position = EMPTY_JOURNAL
    for done in first:
        position = following(position, done)
    assert (position.seq, position.hash) == (3, first[-1].hash)
    assert first + _cut(ENTRIES[3:], position) == _cut(ENTRIES)


def test_an_entry_that_no_segment_can_hold_is_refused() -> None:
    """Here, not at every peer."""
    large = SiteAdmitted(site=SUMMIT, key=SUMMIT_KEY.public, access=Access.FULL, domain="d", grants=["x" * 1024] * 256)
    with pytest.raises(SegmentInvalid, match=r"one site\.admitted entry has .* bytes; 195584 are allowed"):
        _cut([large])
    with pytest.raises(SegmentInvalid, match=r"one site\.admitted entry"):
        _cut([msgspec.structs.replace(large, grants=[]), large])


def _announced(length: int) -> SiteAnnounced:
    offer = AdapterOffer(name="http", version=1, address="", dial=Dial.EITHER, params={"pad": "x" * length})
    return SiteAnnounced(software="", adapters=[offer])


def test_the_largest_entry_still_fits() -> None:
    """The limit is on its bytes with number and time."""
    room = 196_608 - 1024 - len(wire.encode(msgspec.structs.replace(_announced(0), seq=1, at=AT)))
    assert [len(done.entries) for done in _cut([_announced(room)])] == [1]
    with pytest.raises(SegmentInvalid, match=r"one site\.announced entry has 195585 bytes"):
        _cut([_announced(room + 1)])


def test_two_entries_share_a_segment_to_the_last_byte() -> None:
    """The comma between them is counted."""
    room = 196_608 - 1024 - 1 - 2 * len(wire.encode(msgspec.structs.replace(_announced(0), seq=1, at=AT)))
    assert len(_cut([_announced(room), _announced(0)])) == 1
    assert len(_cut([_announced(room + 1), _announced(0)])) == 2


def test_what_a_peer_would_refuse_is_never_signed() -> None:
    """It would be applied by nobody, and a journal cannot be repaired."""
    with pytest.raises(SegmentInvalid, match=r"entry 1 of site 'summit' \(file\.ingested\)"):
        _cut([ingested("a", "x" * 1025)])


@given(
    st.lists(
        st.one_of(
            st.builds(ingested, st.sampled_from(["a", "b/c"]), st.integers(0, 1024).map(lambda n: "é" * n)),
            st.sampled_from(ENTRIES),
        ),
        max_size=60,
    ),
    st.integers(min_value=0, max_value=5),
)
def test_cutting_keeps_order_limits_and_chain(entries: list[Entry], times: int) -> None:
    """Whatever comes: read back, it is the same entries, numbered, in segments that every peer accepts."""
    entries = entries * times
    cuts = _cut(entries)
    read: list[Entry] = []
    prev, kind = NO_HASH, ""
    for done in cuts:
        segment = decode(done.payload)
        assert (segment.prev, segment.first_seq) == (prev, len(read) + 1)
        assert segment.kind == kind_of(done.entries[0])
        assert entries_of(segment) == done.entries
        if segment.kind == kind:
            # Cut for a limit only: this one's first entry would not have fitted into the one before.
            before = cuts[cuts.index(done) - 1]
            full = len(before.payload) + len(bytes(segment.entries[0])) > MAX_SEGMENT_BYTES - 1024
            assert full or len(before.entries) == MAX_ENTRIES
        read += done.entries
        prev, kind = done.hash, segment.kind
    assert [entry.seq for entry in read] == list(range(1, len(entries) + 1))
    assert {entry.at for entry in read} <= {AT}
    assert [msgspec.structs.replace(entry, seq=0, at="") for entry in read] == entries
    assert all(type(entry) is FileIngested for entry in read if kind_of(entry) == "file.ingested")


def test_a_segment_of_a_site_that_had_several_keys_says_which_one_signed_it() -> None:
    (done,) = segments.cut(samples.EMPTY_JOURNAL, [samples.ingested()], samples.AT)
    keys = [samples.ARCHIVE_KEY.public, samples.SUMMIT_KEY.public]
    for key in (samples.ARCHIVE_KEY, samples.SUMMIT_KEY):
        signature = key.sign(Purpose.SEGMENT, done.payload)
        _, signer = segments.open_of_member(done.payload, signature, site=samples.SUMMIT, keys=keys)
        assert signer == key.public


def test_a_field_that_stands_twice_is_refused_where_it_comes_in() -> None:
    """It reads as it did; but another reader may read it otherwise."""
    path = Path(__file__).parents[2] / "golden" / "segments" / "store.declared.json"
    twice = path.read_bytes().replace(b'"label":', b'"label":"x","label":', 1)
    assert segments.decode(twice).site == "summit"
    with pytest.raises(SegmentInvalid, match="label"):
        segments.opened_first(twice)
