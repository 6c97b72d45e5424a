"""One sample of every entry kind, and the keys and names that the tests of the protocol share."""

from __future__ import annotations

from librarian_protocol import segments
from librarian_protocol.digests import Digest
from librarian_protocol.entries import (
    Access,
    AdapterOffer,
    Cutoff,
    Dial,
    DigestAdded,
    Entry,
    EntryId,
    FileAttributed,
    FileIngested,
    FileWithdrawn,
    HoldDeclared,
    HoldWithdrawn,
    How,
    InstanceDoubted,
    InstanceHealed,
    InstanceRegistered,
    InstanceRemoved,
    InstanceSuspected,
    KeepDeclared,
    KeepWithdrawn,
    NameResolved,
    SiteAdmitted,
    SiteAnnounced,
    SiteRekeyed,
    SiteRevoked,
    StoreDeclared,
    StoreRetired,
    StoreRole,
    StoreScrubbed,
    SubscriptionDeclared,
    SubscriptionWithdrawn,
    TransferParked,
    TransferResumed,
    Unit,
)
from librarian_protocol.keys import SiteKey
from librarian_protocol.names import Name, SiteName

#: Test keys: their seeds are public, they protect nothing.
SUMMIT_KEY = SiteKey(bytes(range(32)))
ARCHIVE_KEY = SiteKey(bytes(range(32, 64)))
SUMMIT = SiteName.parse("summit")
ARCHIVE = SiteName.parse("archive")
CAMPUS = SiteName.parse("campus")
STORE = "00112233445566778899aabbccddeeff"
OTHER_STORE = "ffeeddccbbaa99887766554433221100"
SUBSCRIPTION = "0123456789abcdef"
INCARNATION = "0f1e2d3c4b5a6978"
AT = "2026-01-02T03:04:05.000006Z"
BUS_KEYS = ["U" + "A" * 55, "U" + "B" * 55]
NAME = Name.parse("raw/2026/first light.fits")
DIGEST = Digest.blake3(b"first light")
SIZE_BYTES = 11
EMPTY_JOURNAL = segments.Position(site=SUMMIT, epoch=1, incarnation=INCARNATION, seq=0, hash=segments.NO_HASH)

#: In the order in which a site could have written them.
ENTRIES: list[Entry] = [
    SiteAdmitted(
        site=SUMMIT,
        key=SUMMIT_KEY.public,
        access=Access.FULL,
        domain="summit",
        grants=["**"],
        bus=BUS_KEYS,
        may_admit=True,
    ),
    SiteAnnounced(
        software="librarian-daemon 0.1.0",
        adapters=[
            AdapterOffer(name="http", version=1, address="http://data.example:8470", dial=Dial.DESTINATION, params={})
        ],
    ),
    StoreDeclared(store=STORE, label="disk", role=StoreRole.SOURCE, technology="posix", active=True, ingestable=True),
    SubscriptionDeclared(subscription=SUBSCRIPTION, from_site=ARCHIVE, match="calib/**", into=[STORE]),
    FileIngested(
        name=NAME,
        digest=DIGEST,
        size_bytes=SIZE_BYTES,
        unit=Unit.FILE,
        store=STORE,
        mtime_ns=1_767_323_045_000_006_000,
        uploader="observer",
    ),
    DigestAdded(
        name=NAME,
        digest=DIGEST,
        size_bytes=SIZE_BYTES,
        unit=Unit.FILE,
        other=Digest.parse("md5:0123456789abcdef0123456789abcdef"),
    ),
    InstanceRegistered(
        name=Name.parse("calib/flat Ångström"),
        digest=Digest.blake3(b"manifest"),
        size_bytes=20_000_000_000,
        unit=Unit.BOOK,
        store=STORE,
        source_site=ARCHIVE,
        how=How.PULLED,
    ),
    InstanceSuspected(
        name=NAME,
        digest=DIGEST,
        size_bytes=SIZE_BYTES,
        unit=Unit.FILE,
        store=STORE,
        reason="checksum-mismatch",
    ),
    InstanceHealed(name=NAME, digest=DIGEST, size_bytes=SIZE_BYTES, unit=Unit.FILE, store=STORE),
    InstanceDoubted(
        name=NAME,
        digest=DIGEST,
        size_bytes=SIZE_BYTES,
        unit=Unit.FILE,
        store=OTHER_STORE,
        owner=ARCHIVE,
        reason="checksum-mismatch",
        epoch=3,
        incarnation="fedcba9876543210",
        entry_seq=77,
    ),
    InstanceRemoved(
        name=NAME,
        digest=DIGEST,
        size_bytes=SIZE_BYTES,
        unit=Unit.FILE,
        store=STORE,
        reason="policy",
        evidence=Digest.blake3(b"evidence"),
    ),
    TransferParked(
        name=NAME,
        digest=DIGEST,
        size_bytes=SIZE_BYTES,
        unit=Unit.FILE,
        store=STORE,
        source_site=ARCHIVE,
        reason="source-refused",
        message="site 'archive' answered 403",
    ),
    TransferResumed(name=NAME, digest=DIGEST, size_bytes=SIZE_BYTES, unit=Unit.FILE, store=STORE),
    FileWithdrawn(name=NAME, digest=DIGEST, size_bytes=SIZE_BYTES, unit=Unit.FILE, reason="test exposure"),
    SubscriptionWithdrawn(subscription=SUBSCRIPTION),
    StoreRetired(store=STORE),
    SiteRekeyed(key=ARCHIVE_KEY.public),
    SiteRevoked(
        site=CAMPUS,
        key=ARCHIVE_KEY.public,
        domain="campus",
        grants=["derived/**"],
        reason="its disk was sold",
        cutoff=Cutoff(incarnation=INCARNATION, seq=12, hash="9a" * 32),
    ),
    NameResolved(
        name=NAME,
        keep=DIGEST,
        over=[Digest.blake3(b"second light")],
        supersedes=[EntryId(site=ARCHIVE, incarnation=INCARNATION, seq=3)],
    ),
    FileAttributed(
        name=Name.parse("calib/flat Ångström"),
        digest=Digest.blake3(b"manifest"),
        size_bytes=20_000_000_000,
        unit=Unit.BOOK,
        list=Digest.blake3(b"librarian-attributes 1\n1767323045000006000\n"),
    ),
    KeepDeclared(match="raw/**", instances=3, domains=2, role="archive", reason="cannot be observed again"),
    KeepWithdrawn(supersedes=[EntryId(site=SUMMIT, incarnation=INCARNATION, seq=21)], reason="the survey is complete"),
    HoldDeclared(match="raw/2026/**", until=1_798_761_600, reason="under review"),
    HoldWithdrawn(supersedes=[EntryId(site=SUMMIT, incarnation=INCARNATION, seq=23)], reason="reviewed"),
    StoreScrubbed(store=STORE, number=3, until="2026-01-01T00:00:00.000000Z", files=1000, bytes=5_000_000_000, bad=1),
]


def ingested(name: str = "a", text: str = "") -> FileIngested:
    """A file as an entry; ``text`` makes it longer."""
    return FileIngested(
        name=Name.parse(name),
        digest=Digest.blake3(name.encode()),
        size_bytes=1,
        unit=Unit.FILE,
        store=STORE,
        mtime_ns=0,
        uploader=text or None,
    )
