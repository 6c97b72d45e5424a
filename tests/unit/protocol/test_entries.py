"""Journal entries: their kinds and what each field may hold."""

from __future__ import annotations

import inspect

import msgspec
import pytest
from tests.unit.protocol import samples

from librarian_protocol import entries, wire
from librarian_protocol.entries import KINDS, Entry, FileEntry, FileIngested, FileWithdrawn, Unit, kind_of


def test_the_kinds_are_these() -> None:
    """A kind is a promise to every site and every archive: none goes, none is renamed."""
    assert {kind: entry.__name__ for kind, entry in KINDS.items()} == {
        "file.ingested": "FileIngested",
        "file.withdrawn": "FileWithdrawn",
        "instance.registered": "InstanceRegistered",
        "instance.removed": "InstanceRemoved",
        "instance.suspected": "InstanceSuspected",
        "instance.healed": "InstanceHealed",
        "instance.doubted": "InstanceDoubted",
        "transfer.parked": "TransferParked",
        "transfer.resumed": "TransferResumed",
        "subscription.declared": "SubscriptionDeclared",
        "subscription.withdrawn": "SubscriptionWithdrawn",
        "store.declared": "StoreDeclared",
        "store.retired": "StoreRetired",
        "site.announced": "SiteAnnounced",
        "site.admitted": "SiteAdmitted",
        "site.rekeyed": "SiteRekeyed",
        "site.revoked": "SiteRevoked",
        "name.resolved": "NameResolved",
        "digest.added": "DigestAdded",
        "file.attributed": "FileAttributed",
        "keep.declared": "KeepDeclared",
        "keep.withdrawn": "KeepWithdrawn",
        "hold.declared": "HoldDeclared",
        "hold.withdrawn": "HoldWithdrawn",
        "store.scrubbed": "StoreScrubbed",
    }


def test_every_entry_class_has_a_kind() -> None:
    """None is forgotten when one is added."""
    classes = {
        value
        for _, value in inspect.getmembers(entries, inspect.isclass)
        if issubclass(value, Entry) and value not in (Entry, FileEntry)
    }
    assert classes == set(KINDS.values())


def test_there_is_a_sample_of_every_kind() -> None:
    """The samples below and the golden files cover all kinds."""
    assert sorted(kind_of(entry) for entry in samples.ENTRIES) == sorted(KINDS)


@pytest.mark.parametrize("entry", samples.ENTRIES, ids=kind_of)
def test_an_entry_comes_back_from_the_wire_as_it_went(entry: Entry) -> None:
    """Encoding and decoding are inverse."""
    assert wire.decoder(type(entry)).decode(wire.encode(entry)) == entry


@pytest.mark.parametrize("entry", samples.ENTRIES, ids=kind_of)
def test_a_field_from_a_later_version_is_passed_over(entry: Entry) -> None:
    """Adding a field is compatible."""
    raw = b'{"from_the_future":[1,{"a":null}],' + wire.encode(entry)[1:]
    assert wire.decoder(type(entry)).decode(raw) == entry


def test_an_entry_about_a_file_stands_alone() -> None:
    """Whoever has never heard of the file can make its row (docs/events.md)."""
    about_files = {kind for kind, entry in KINDS.items() if issubclass(entry, FileEntry)}
    nouns = ("file.", "instance.", "transfer.", "digest.")
    assert about_files == {kind for kind in KINDS if kind.startswith(nouns)}
    assert set(FileEntry.__struct_fields__) == {"seq", "at", "name", "digest", "size_bytes", "unit"}


def _changed(entry: Entry, **fields: object) -> bytes:
    plain: object = msgspec.json.decode(wire.encode(entry))
    assert isinstance(plain, dict)
    return msgspec.json.encode({**plain, **fields})


BAD_FIELDS: list[tuple[str, str, object]] = [
    ("file.ingested", "name", "../x"),
    ("file.ingested", "name", None),
    ("file.ingested", "digest", "md5:0"),
    ("file.ingested", "size_bytes", -1),
    ("file.ingested", "size_bytes", 1 << 53),
    ("file.ingested", "size_bytes", 1.5),
    ("file.ingested", "unit", "link"),
    ("file.ingested", "store", "0" * 31),
    ("file.ingested", "store", "0" * 32 + "\n"),
    ("file.ingested", "store", "A" * 32),
    ("file.ingested", "mtime_ns", -(1 << 63)),
    ("file.ingested", "mtime_ns", 1 << 63),
    ("file.ingested", "members", -1),
    ("file.ingested", "members", 1 << 53),
    ("file.ingested", "uploader", "x" * 1025),
    ("file.ingested", "seq", -1),
    ("file.ingested", "seq", 1 << 63),
    ("file.ingested", "at", "x" * 41),
    ("instance.registered", "source_site", "Summit"),
    ("instance.registered", "source_site", None),
    ("instance.registered", "how", "guessed"),
    ("instance.doubted", "incarnation", "0" * 17),
    ("instance.doubted", "incarnation", "0" * 16 + "\n"),
    ("instance.doubted", "entry_seq", -1),
    ("instance.removed", "evidence", "blake3:"),
    ("subscription.declared", "subscription", "0" * 15),
    ("subscription.declared", "subscription", "0" * 16 + "\n"),
    ("subscription.declared", "into", []),
    ("subscription.declared", "into", ["0" * 32] * 17),
    ("subscription.declared", "match", "x" * 1025),
    ("store.declared", "label", ""),
    ("store.declared", "label", "-a"),
    ("store.declared", "label", "a" * 64),
    ("store.declared", "label", "a\n"),
    ("store.declared", "role", "attic"),
    ("store.declared", "active", 1),
    ("site.admitted", "key", "ed25519:" + "0" * 63),
    ("site.admitted", "key", "ed25519:" + "0" * 64 + "\n"),
    ("site.admitted", "bus", ["U" + "A" * 55] * 3),
    ("site.admitted", "bus", ["U" + "A" * 55 + "\n"]),
    ("site.admitted", "bus", ["S" + "A" * 55]),
    ("site.admitted", "grants", ["**"] * 257),
    ("site.admitted", "grants", ["x" * 1025]),
    ("site.admitted", "access", "guest"),
    ("site.announced", "adapters", [{}]),
    ("site.announced", "software", "x" * 1025),
    ("file.ingested", "uploader", "a\0b"),
    ("file.ingested", "at", "\0"),
    ("instance.removed", "reason", "a\0"),
    ("subscription.declared", "match", "\0"),
    ("site.admitted", "grants", ["\0"]),
    ("subscription.declared", "max_bytes", -1),
    ("subscription.declared", "max_bytes", 1 << 53),
    ("subscription.declared", "newest_s", 0),
    ("subscription.declared", "priority", 10),
    ("subscription.declared", "via", ""),
    ("subscription.declared", "spread", 1),
    ("keep.declared", "match", "x" * 1025),
    ("keep.declared", "instances", 0),
    ("keep.declared", "instances", 1001),
    ("keep.declared", "domains", 0),
    ("keep.declared", "role", "An Attic"),
    ("keep.declared", "reason", "x" * 1025),
    ("keep.withdrawn", "supersedes", []),
    ("keep.withdrawn", "supersedes", [{"site": "summit", "incarnation": "0" * 16, "seq": 1}] * 257),
    ("keep.withdrawn", "supersedes", [{"site": "summit", "incarnation": "0", "seq": 1}]),
    ("hold.declared", "until", -1),
    ("hold.declared", "until", 1 << 53),
    ("hold.declared", "until", "2027-01-01"),
    ("hold.declared", "reason", None),
    ("hold.withdrawn", "supersedes", []),
]


def test_a_rule_about_a_role_of_a_later_version_is_no_refused_rule() -> None:
    """It asks for what nobody here can fulfil; refused, it would protect nothing."""
    raw = msgspec.json.encode({"match": "**", "instances": 1, "domains": 1, "role": "attic"})
    assert wire.decoder(entries.KeepDeclared).decode(raw).role == "attic"


def test_a_subscription_without_limits_is_written_as_before_there_were_any() -> None:
    """Sites of earlier versions pass the others over."""
    (plain,) = (entry for entry in samples.ENTRIES if isinstance(entry, entries.SubscriptionDeclared))
    assert set(msgspec.json.decode(wire.encode(plain))) == {"subscription", "from_site", "match", "into"}


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    BAD_FIELDS,
)
def test_a_field_out_of_its_bounds_is_refused(kind: str, field: str, value: object) -> None:
    """What a catalog cannot hold, or a reader cannot trust, does not get in."""
    (entry,) = (sample for sample in samples.ENTRIES if kind_of(sample) == kind)
    with pytest.raises(msgspec.ValidationError, match=rf"\$\.{field}|at `\$"):
        wire.decoder(KINDS[kind]).decode(_changed(entry, **{field: value}))


@pytest.mark.parametrize(
    "offer",
    [
        {"version": 0},
        {"version": (1 << 31) + 1},
        {"name": "HTTP"},
        {"dial": "both"},
        {"address": "x" * 1025},
    ],
)
def test_an_adapter_offer_out_of_its_bounds_is_refused(offer: dict[str, object]) -> None:
    """Offers are read by whoever wants to pull."""
    good: dict[str, object] = {"name": "http", "version": 1, "address": "", "dial": "either"}
    decoder = wire.decoder(entries.AdapterOffer)
    assert decoder.decode(msgspec.json.encode(good)).params == {}
    with pytest.raises(msgspec.ValidationError):
        decoder.decode(msgspec.json.encode({**good, **offer}))


def test_the_largest_integers_of_a_catalog_are_accepted() -> None:
    """2^63 - 1 is what BIGINT holds; of sizes and members 2^53 - 1, of which a thousand make no sum overflow."""
    raw = _changed(samples.ingested(), size_bytes=2**53 - 1, mtime_ns=-(2**63 - 1), members=2**53 - 1)
    entry = wire.decoder(FileIngested).decode(raw)
    assert (entry.size_bytes, entry.mtime_ns, entry.members) == (2**53 - 1, -(2**63 - 1), 2**53 - 1)


def test_the_words_of_the_enumerations_are_these() -> None:
    """They stand in journals that are never trimmed."""
    assert [str(unit) for unit in entries.Unit] == ["file", "book"]
    assert [str(role) for role in entries.StoreRole] == ["source", "buffer", "archive", "processing", "drive"]
    assert [str(access) for access in entries.Access] == ["full", "callback", "witness"]
    assert [str(how) for how in entries.How] == ["pulled", "found"]
    assert [str(dial) for dial in entries.Dial] == ["destination", "source", "either"]


def test_a_file_is_known_by_its_blake3_digest_and_no_other() -> None:
    """Digests of other algorithms are carried beside it, never instead of it."""
    payload = wire.encode(
        FileWithdrawn(name=samples.NAME, digest=samples.DIGEST, size_bytes=1, unit=Unit.FILE, reason="x")
    ).replace(b"blake3:", b"sha256:")
    with pytest.raises(msgspec.ValidationError, match="not by sha256"):
        wire.decoder(FileWithdrawn).decode(payload)
