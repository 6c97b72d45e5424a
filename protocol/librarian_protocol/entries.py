"""Journal entries: what sites tell one another (docs/events.md).

Every fact has one writer. Every entry is complete: it has the whole new state of its register, and all that a reader
needs to know of a file of which nothing else has arrived. The journal sets ``seq`` and ``at`` when the entry is
committed; a service that makes an entry does not set them.

A receiver keeps the bytes of kinds that are not in :data:`KINDS`, and applies them after an upgrade.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from librarian_protocol.digests import Digest
from librarian_protocol.names import Name, SiteName

#: 2^63 - 1: what SQL's BIGINT and every JSON reader with 64-bit integers can hold.
MAX_INTEGER = (1 << 63) - 1

#: 2^53 - 1: what every JSON reader represents exactly; 9 PB is more than any one file or book. An entry that claims a
#: larger size is kept in the record and never applied, so that sums cannot overflow.
MAX_SIZE_BYTES = (1 << 53) - 1

Seq = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
SizeBytes = Annotated[int, Meta(ge=0, le=MAX_SIZE_BYTES)]
# Patterns end in ``(?!\n)$``: Python's ``$`` alone would let a trailing newline through.
#: A store's id: 128 random bits in hex, given when the store is made and never changed.
StoreId = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}(?!\n)$")]
SubscriptionId = Annotated[str, Meta(pattern=r"^[0-9a-f]{16}(?!\n)$")]
#: An incarnation: 64 random bits in hex; as text they order as the numbers do.
IncarnationId = Annotated[str, Meta(pattern=r"^[0-9a-f]{16}(?!\n)$")]
PublicKey = Annotated[str, Meta(pattern=r"^ed25519:[0-9a-f]{64}(?!\n)$")]
#: An NKEY user's public key, as NATS writes it.
BusKey = Annotated[str, Meta(pattern=r"^U[A-Z2-7]{55}(?!\n)$")]
#: PostgreSQL has no text with NUL: one would keep a whole commit from it for ever.
NO_NUL = r"^[^\x00]*$"
Text = Annotated[str, Meta(max_length=1024, pattern=NO_NUL)]
#: A segment's hash, or another blake3 in bare hex.
HexHash = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}(?!\n)$")]
Signature = Annotated[str, Meta(pattern=r"^[0-9a-f]{128}(?!\n)$")]
#: A certificate, DER in base64.
Certificate = Annotated[str, Meta(pattern=r"^[A-Za-z0-9+/=]{1,8192}(?!\n)$")]
Label = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}(?!\n)$")]


#: Of a subscription that says nothing else.
USUAL_PRIORITY = 5


class Unit(StrEnum):
    """What one file is: a single file, or a book (a directory that is one unit)."""

    FILE = "file"
    BOOK = "book"


class StoreRole(StrEnum):
    """What a store is for."""

    SOURCE = "source"
    BUFFER = "buffer"
    ARCHIVE = "archive"
    PROCESSING = "processing"
    DRIVE = "drive"


class Access(StrEnum):
    """What a peer may read here."""

    FULL = "full"
    CALLBACK = "callback"
    WITNESS = "witness"


class How(StrEnum):
    """How an instance came to be in its store."""

    PULLED = "pulled"
    FOUND = "found"


class Dial(StrEnum):
    """Which end of a transfer opens the connection."""

    DESTINATION = "destination"
    SOURCE = "source"
    EITHER = "either"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What every entry has: its number (from 1 on at each site) and its time (for people only)."""

    seq: Seq = 0
    at: Annotated[str, Meta(max_length=40, pattern=NO_NUL)] = ""


class FileEntry(Entry, frozen=True, kw_only=True):
    """An entry about a file. It is enough to make the file's row where nothing else about it has arrived."""

    name: Name
    #: The file's identity: always blake3. ``digest.added`` tells other digests.
    digest: Digest
    size_bytes: SizeBytes
    unit: Unit

    def __post_init__(self) -> None:
        """Refuse another algorithm than blake3 (msgspec reports it as a decoding error)."""
        if not self.digest.startswith("blake3:"):
            raise ValueError(f"a file is known by its blake3 digest, not by {self.digest.algorithm}")


class FileIngested(FileEntry, frozen=True, kw_only=True):
    """A file was ingested. This entry is also the registration of its first instance."""

    store: StoreId
    mtime_ns: Annotated[int, Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)]
    uploader: Text | None = None
    #: Files in the book; absent for a single file.
    members: Annotated[int, Meta(ge=0, le=MAX_SIZE_BYTES)] | None = None


class FileAttributed(FileEntry, frozen=True, kw_only=True):
    """What else is kept of a file. The site that ingested the file says it, before its ``file.ingested``.

    It counts only if its site is the file's origin. It is said of executable files and of books only.
    """

    #: Whether a single file is executable.
    executable: bool = False
    #: Of a book: blake3 of the list of its members' attributes.
    list: Digest | None = None

    def __post_init__(self) -> None:
        """Refuse another algorithm than blake3 for the file and for the list."""
        FileEntry.__post_init__(self)
        if self.list is not None and self.list.algorithm != "blake3":
            raise ValueError(f"a list of attributes is known by its blake3 digest, not by {self.list.algorithm}")


class FileWithdrawn(FileEntry, frozen=True, kw_only=True):
    """An administrator withdrew the file: no site wants it, and nobody may ingest it again."""

    reason: Text


class InstanceRegistered(FileEntry, frozen=True, kw_only=True):
    """A verified instance stands in this site's store. It tells the source that the transfer is complete."""

    store: StoreId
    source_site: SiteName
    how: How


class InstanceRemoved(FileEntry, frozen=True, kw_only=True):
    """This site gave up an instance. ``evidence`` is the blake3 of what allowed it."""

    store: StoreId
    reason: Text
    evidence: Digest | None = None


class InstanceSuspected(FileEntry, frozen=True, kw_only=True):
    """The owner no longer vouches for an instance: it was read and found wrong, or could not be read."""

    store: StoreId
    reason: Text


class InstanceHealed(FileEntry, frozen=True, kw_only=True):
    """The owner read the whole instance and found it right; it also answers every doubt raised before."""

    store: StoreId


class InstanceDoubted(FileEntry, frozen=True, kw_only=True):
    """A reader's complaint about another site's instance. Its owner reads the instance again.

    ``epoch``, ``incarnation`` and ``entry_seq`` name the state of the instance that is doubted; any later
    state answers the doubt.
    """

    store: StoreId
    owner: SiteName
    reason: Text
    epoch: Seq
    incarnation: IncarnationId
    entry_seq: Seq


class TransferParked(FileEntry, frozen=True, kw_only=True):
    """A transfer into this site's store needs a person. Attempts that are retried are not told to others."""

    store: StoreId
    source_site: SiteName | None
    reason: Text
    message: Text


class TransferResumed(FileEntry, frozen=True, kw_only=True):
    """A parked transfer goes on."""

    store: StoreId


class SubscriptionDeclared(Entry, frozen=True, kw_only=True, omit_defaults=True):
    """A rule at this site: which files, from which site, into which stores (in order of preference)."""

    subscription: SubscriptionId
    #: Origin or holder; ``None`` is any site.
    from_site: SiteName | None
    match: Text
    into: Annotated[list[StoreId], Meta(min_length=1, max_length=16)]
    #: Larger files are not wanted; None: of any size.
    max_bytes: SizeBytes | None = None
    #: Files that were ingested longer ago, in seconds, are not wanted; None: of any age.
    newest_s: Annotated[int, Meta(ge=1, le=MAX_SIZE_BYTES)] | None = None
    #: 9 is fetched first.
    priority: Annotated[int, Meta(ge=0, le=9)] = USUAL_PRIORITY
    #: By what they may come: ``network``, ``drive`` or ``any``. A word of a later version is read as ``any``.
    via: Label = "any"
    #: One of the sites with such a subscription fetches a file from where it was ingested, the others from that site.
    spread: bool = False


class SubscriptionWithdrawn(Entry, frozen=True, kw_only=True):
    """The rule has ended. Nothing that it brought is deleted."""

    subscription: SubscriptionId


class StoreDeclared(Entry, frozen=True, kw_only=True):
    """A store of this site. Other sites do not learn its path."""

    store: StoreId
    label: Label
    role: StoreRole
    technology: Label
    active: bool
    ingestable: bool


class StoreRetired(Entry, frozen=True, kw_only=True):
    """The store has ended; its instances no longer count."""

    store: StoreId


class AdapterOffer(msgspec.Struct, frozen=True, kw_only=True):
    """One way in which this site gives bytes to others."""

    name: Label
    version: Annotated[int, Meta(ge=1, le=1 << 31)]
    address: Text
    dial: Dial
    params: dict[str, Any] = {}


class SiteAnnounced(Entry, frozen=True, kw_only=True, omit_defaults=True):
    """What this site offers, and which software it runs."""

    software: Text
    adapters: Annotated[list[AdapterOffer], Meta(max_length=32)]
    #: The certificate of this site's data address, by which the others pin it; None where it has no TLS, or one
    #: signed by a configured authority.
    certificate: Certificate | None = None
    #: Where this site listens for leaf links of other sites' bus servers; "" where it does not.
    leaf_address: Text = ""


class Cutoff(msgspec.Struct, frozen=True, kw_only=True):
    """The last entry of a segment, and the segment's hash. The hash alone decides; the others are for people."""

    incarnation: IncarnationId
    seq: Seq
    hash: HexHash


#: Ends of a journal. No site has more branches than this (docs/adr/0012: more than 8 need an administrator).
Tips = Annotated[list[Cutoff], Meta(max_length=64)]


class SiteAdmitted(Entry, frozen=True, kw_only=True, omit_defaults=True):
    """A site was admitted to the mesh, by a site that has the right to admit.

    The admitter sets the failure domain; the site does not claim it. ``bus`` are the NKEYs of the site's two bus
    connections (journal, link), by which a shared server knows it.
    """

    site: SiteName
    key: PublicKey
    access: Access
    domain: Label
    grants: Annotated[list[Text], Meta(max_length=256)]
    bus: Annotated[list[BusKey], Meta(max_length=2)] = []
    #: NKEY by which the site's own bus server dials out to another's; None where it has none.
    leaf: BusKey | None = None
    #: Whether this site may admit others.
    may_admit: bool = False
    #: Written before there were ``tips``: read as the only one of them.
    cutoff: Cutoff | None = None
    #: The keys that ended. What they signed counts if it is one of ``tips``, or one of ``tips`` is built on it.
    former: Annotated[list[PublicKey], Meta(max_length=64)] = []
    #: An administrator's statement: its number (the greatest counts) and the signature of the offline key over it.
    statement: Annotated[int, Meta(ge=0, le=MAX_INTEGER)] = 0
    administrator: Signature | None = None
    #: The last segments that are believed under ``former``: all ends of its journal, for it may have branches.
    tips: Tips | None = None


class SiteRekeyed(Entry, frozen=True, kw_only=True, omit_defaults=True):
    """This site signs with another key from the next segment on. It says so in the old chain, under the old key.

    Of what the old key signed, this segment counts, those of ``tips``, and what these are built on.
    """

    key: PublicKey
    #: The other ends of its journal.
    tips: Tips = []


class SiteRevoked(Entry, frozen=True, kw_only=True):
    """A site is no longer in the mesh. The admitter writes it in the register of the admission.

    Of its journal, ``tips`` and what they are built on still count. So its keys and grants stand here too. All of its
    journal counts where ``tips`` and ``cutoff`` are missing, as in entries written before there were tips.
    """

    site: SiteName
    key: PublicKey
    former: Annotated[list[PublicKey], Meta(max_length=64)] = []
    domain: Label
    grants: Annotated[list[Text], Meta(max_length=256)]
    reason: Text
    #: Written before there were ``tips``: read as the only one of them.
    cutoff: Cutoff | None = None
    statement: Annotated[int, Meta(ge=0, le=MAX_INTEGER)] = 0
    administrator: Signature | None = None
    #: The last segments that are believed: all ends of its journal, for it may have branches. It is left out where
    #: unset, so that statements which were signed before there were tips keep their bytes.
    tips: Tips | msgspec.UnsetType = msgspec.UNSET


class EntryId(msgspec.Struct, frozen=True, kw_only=True):
    """An entry, named by what never changes of it."""

    site: SiteName
    incarnation: IncarnationId
    seq: Seq


class NameResolved(Entry, frozen=True, kw_only=True):
    """An administrator's decision between files of one name.

    ``over`` and ``supersedes`` are the other digests of the name, withdrawn ones apart, and the earlier decisions about
    it: all that the deciding site knew.
    """

    name: Name
    keep: Digest
    over: Annotated[list[Digest], Meta(max_length=256)]
    supersedes: Annotated[list[EntryId], Meta(max_length=256)] = []


#: Instances and failure domains that a rule may require.
Required = Annotated[int, Meta(ge=1, le=1000)]
#: Seconds since 1970, UTC.
UnixSeconds = Annotated[int, Meta(ge=0, le=MAX_SIZE_BYTES)]
#: Declarations that a withdrawal ends.
Superseded = Annotated[list[EntryId], Meta(min_length=1, max_length=256)]


class KeepDeclared(Entry, frozen=True, kw_only=True, omit_defaults=True):
    """A rule of the mesh: of each file whose name matches, an eviction leaves at least this many good instances.

    It is identified by this entry's id, and counts until a ``keep.withdrawn`` names it.
    """

    match: Text
    #: Pairs of site and store.
    instances: Required
    #: Failure domains in which they stand.
    domains: Required
    #: At least one of them stands in a store of this role; None where any will do. It is text, so that a rule about a
    #: role of a later version is a rule that nobody here can fulfil, and not one that is refused.
    role: Label | None = None
    reason: Text = ""


class KeepWithdrawn(Entry, frozen=True, kw_only=True):
    """These ``keep.declared`` have ended, whoever wrote them."""

    supersedes: Superseded
    reason: Text


class HoldDeclared(Entry, frozen=True, kw_only=True, omit_defaults=True):
    """A rule of the mesh: nobody evicts a file whose name matches.

    It is identified by this entry's id, and counts until a ``hold.withdrawn`` names it.
    """

    match: Text
    #: From this moment on it no longer holds; None: until somebody withdraws it.
    until: UnixSeconds | None = None
    reason: Text


class HoldWithdrawn(Entry, frozen=True, kw_only=True):
    """These ``hold.declared`` have ended, whoever wrote them."""

    supersedes: Superseded
    reason: Text


class StoreScrubbed(Entry, frozen=True, kw_only=True):
    """How far a store was read again, said once a day while a pass goes on, and at its end. For people."""

    store: StoreId
    #: The number of the pass.
    number: Annotated[int, Meta(ge=1, le=MAX_INTEGER)] = msgspec.field(name="pass")
    #: Every instance that was verified before this time has been read again; "" while the pass has read none.
    until: Annotated[str, Meta(max_length=40, pattern=NO_NUL)]
    #: What the pass has read so far, and how many instances were found bad since it began.
    files: Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
    bytes: Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
    bad: Annotated[int, Meta(ge=0, le=MAX_INTEGER)]


class DigestAdded(FileEntry, frozen=True, kw_only=True):
    """Another digest of the same bytes, from a site that read them. The file's identity does not change."""

    other: Digest


#: Every kind this version applies, by the two words that end its subject.
KINDS: dict[str, type[Entry]] = {
    "file.ingested": FileIngested,
    "file.withdrawn": FileWithdrawn,
    "instance.registered": InstanceRegistered,
    "instance.removed": InstanceRemoved,
    "instance.suspected": InstanceSuspected,
    "instance.healed": InstanceHealed,
    "instance.doubted": InstanceDoubted,
    "transfer.parked": TransferParked,
    "transfer.resumed": TransferResumed,
    "subscription.declared": SubscriptionDeclared,
    "subscription.withdrawn": SubscriptionWithdrawn,
    "store.declared": StoreDeclared,
    "store.retired": StoreRetired,
    "site.announced": SiteAnnounced,
    "site.admitted": SiteAdmitted,
    "site.rekeyed": SiteRekeyed,
    "site.revoked": SiteRevoked,
    "name.resolved": NameResolved,
    "digest.added": DigestAdded,
    "file.attributed": FileAttributed,
    "keep.declared": KeepDeclared,
    "keep.withdrawn": KeepWithdrawn,
    "hold.declared": HoldDeclared,
    "hold.withdrawn": HoldWithdrawn,
    "store.scrubbed": StoreScrubbed,
}
_KIND_OF = {entry: kind for kind, entry in KINDS.items()}


def kind_of(entry: Entry) -> str:
    """The kind of an entry, as segments name it."""
    return _KIND_OF[type(entry)]
