"""The ports that services see. Production and simulation differ only behind these (docs/architecture.md)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from librarian_adapters.contract import Staging
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Entry, StoreRole, Unit
from librarian_protocol.errors import LibrarianError
from librarian_protocol.manifest import Member
from librarian_protocol.names import MemberPath, Name, SiteName


class Clock(Protocol):
    """Time. Safety never depends on it (I13)."""

    def utc(self) -> str:
        """Now as RFC 3339 UTC with microseconds and ``Z``, for people."""
        ...

    def unix_s(self) -> int:
        """Seconds since 1970."""
        ...

    def boottime_s(self) -> float:
        """Seconds on a clock that does not jump while the machine is up."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let others run for that long."""
        ...


class Rng(Protocol):
    """Chance."""

    def hex(self, digits: int) -> str:
        """So many random hex digits (an even number)."""
        ...

    def bytes(self, count: int) -> bytes:
        """So many random bytes."""
        ...


# ---- stores ------------------------------------------------------------------------------------------


class Landing(msgspec.Struct, frozen=True, kw_only=True):
    """Verified bytes on their way to their name: what a ``landing`` row holds.

    ``root`` and ``rel`` say where the bytes stand now, on the store's own filesystem: an absolute directory (the
    store's staging, or a drop directory) and a path below it.
    """

    id: str
    store: str
    root: str
    rel: str
    name: Name
    digest: Digest
    size_bytes: int
    unit: Unit
    #: For a book: where its manifest stands, below the store's staging; "" where it is in its final place already.
    manifest_rel: str = ""
    #: The journal entry that goes with the file's commit, without number and time.
    entry: Entry
    #: The transfer that this landing completes; None for intake.
    transfer: int | None = None


class Placed(msgspec.Struct, frozen=True):
    """The bytes stand durably at the name."""

    landing: Landing


class NotPlaced(msgspec.Struct, frozen=True):
    """They do not; the bytes are where they were."""

    landing: Landing
    error: LibrarianError


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What reading an instance found. ``error`` is None where every byte is right."""

    size_bytes: int
    digest: Digest | None
    error: LibrarianError | None = None


class Space(msgspec.Struct, frozen=True, kw_only=True):
    """How full a store's filesystem is."""

    total_bytes: int
    free_bytes: int
    total_inodes: int
    free_inodes: int


class Reader(Protocol):
    """An open instance, or one part of it."""

    size_bytes: int

    def fileno(self) -> int:
        """A descriptor open for reading."""
        ...

    def close(self) -> None:
        """Idempotent."""
        ...


class Store(Protocol):
    """A place at this site that holds bytes."""

    id: str
    label: str
    role: StoreRole
    #: The absolute root directory.
    root: str

    @property
    def staging(self) -> Staging:
        """Where adapters write."""
        ...

    @property
    def staging_root(self) -> str:
        """The directory that staging keys are relative to: ``root`` of landings from staging."""
        ...

    async def open(self) -> None:
        """Check marker, filesystem and rights; make ``.librarian/`` where ``init`` allows it.

        Raises:
            StoreNotMounted: the marker is missing or is another store's.
            StoreFault: the filesystem cannot do what the commit protocol needs.
        """
        ...

    async def seal(self, landings: Sequence[Landing]) -> Sequence[Landing | NotPlaced]:
        """Make the bytes durable where they stand, modes set. Nothing was promised before this."""
        ...

    async def place(self, landings: Sequence[Landing]) -> Sequence[Placed | NotPlaced]:
        """Rename each to its name, never over anything, and make both directories durable.

        Idempotent: what stands at its name already, and no longer where it was, counts as placed.
        """
        ...

    async def recover(self, landing: Landing) -> Placed | NotPlaced:
        """Finish a landing that a crash interrupted: read the bytes again, wherever they stand, then place them."""
        ...

    async def check(self, name: Name, digest: Digest, unit: Unit, size_bytes: int) -> Check:
        """Read the instance whole and compare. A book: its manifest, every member, and nothing besides."""
        ...

    async def open_part(self, name: Name, digest: Digest, part: str, member: MemberPath | None) -> Reader:
        """Open a file, a book's manifest or a member for reading; ``part`` is a value of ``Part``.

        Raises:
            SourceMissing: it is not there.
            StoreNotMounted: nothing is.
        """
        ...

    def manifest(self, digest: Digest) -> AsyncIterator[Sequence[Member]]:
        """The members of a stored book, by pages.

        Raises:
            SourceMissing: no manifest of that digest is stored.
        """
        ...

    def staged_manifest(self, key: str, digest: Digest) -> AsyncIterator[Sequence[Member]]:
        """The members named by a manifest that stands in staging, by pages.

        Raises:
            ManifestInvalid: it is not a manifest, or not the one of that digest; only after the last page.
            StoreError: it cannot be read.
        """
        ...

    async def space(self) -> Space:
        """How full it is."""
        ...

    async def has_staged(self, key: str) -> bool:
        """Whether anything stands in staging under the key, whole or not."""
        ...

    async def discard(self, keys: Sequence[str]) -> None:
        """Remove what is staged under these keys, trees and all. Idempotent."""
        ...

    async def staged(self) -> frozenset[str]:
        """The top-level keys of what stands in staging."""
        ...


# ---- intake's view of the catalog ----------------------------------------------------------------------


class Standing(StrEnum):
    """What the catalog says of a name that is about to be ingested."""

    FREE = "free"
    #: The same bytes are here already.
    PRESENT = "present"
    #: The same file is known, but no instance of it stands in this store.
    KNOWN = "known"
    #: Other bytes have the name.
    TAKEN = "taken"
    #: A name that differs only in letter case is taken.
    TWIN = "twin"
    #: The name lies below another file: below a book, or below what is no directory.
    BELOW = "below"
    #: An administrator withdrew exactly this file.
    WITHDRAWN = "withdrawn"
    #: This site may not ingest a file of that name; the other text is what it may.
    NOT_GRANTED = "not-granted"


class Ledger(Protocol):
    """Where intake writes down what it does. Each call is one durable commit."""

    async def standing(self, store: str, files: Sequence[tuple[Name, Digest]]) -> Sequence[tuple[Standing, str]]:
        """For each file: what stands under its name, and whose (the other digest or name) for the message."""
        ...

    async def begin(self, landings: Sequence[Landing]) -> None:
        """Write the landing rows. Before this no byte may be moved to its name."""
        ...

    async def accept(self, landings: Sequence[Landing]) -> None:
        """Catalog rows, journal entries and outbox; the landing rows go. One commit. After it: "accepted"."""
        ...

    async def abandon(self, landings: Sequence[Landing]) -> None:
        """The landing rows go; nothing else was done."""
        ...

    async def unfinished(self, store: str) -> Sequence[Landing]:
        """Landing rows that a crash left."""
        ...


class Incidents(Protocol):
    """What an operator must know of. One open incident for each (code, subject)."""

    async def open(self, code: str, subject: str, message: str, hint: str) -> None:
        """Open it, or count it again. Idempotent but for the count."""
        ...

    async def resolve(self, code: str, subject: str) -> None:
        """It is over. Idempotent."""
        ...

    async def subjects(self, code: str) -> Sequence[str]:
        """What incidents of this code are open about; at most a thousand."""
        ...


# ---- bus -----------------------------------------------------------------------------------------------


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message read from a site's stream."""

    subject: str
    payload: bytes
    headers: Mapping[str, str]
    #: Its number in the stream: the reader's cursor.
    stream_seq: int


class BusState(msgspec.Struct, frozen=True, kw_only=True):
    """How the bus is, for status and readiness."""

    connected: bool
    url: str
    server_version: str
    #: Why it is not connected, or what is unsafe about it; "" when all is well.
    detail: str
    #: By what it can lose what it acknowledged (nats/README.md).
    unsafe: Sequence[str] = ()
    #: What else an operator should know of it.
    notes: Sequence[str] = ()


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """How reading one other site's stream stands."""

    #: Its consumer for us answers.
    up: bool
    #: Since when it is up or down, for people; "" where it was never tried.
    since: str
    #: Why it is down.
    detail: str


class BusMember(msgspec.Struct, frozen=True, kw_only=True):
    """A site of the roster, as far as the bus must know it."""

    #: NKEYs of its journal and link connections, where it uses another site's server; else empty.
    keys: Sequence[str] = ()
    #: NKEY by which its own server dials out.
    leaf: str | None = None
    access: str = "full"
    #: Where its own server is dialled, and the certificate (DER in base64) by which it proves itself there.
    leaf_address: str = ""
    certificate: str | None = None


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """What an invitation carries of the bus."""

    #: Where clients connect; "" where only servers can, by a leaf link.
    url: str
    #: Where a newcomer's own server dials in, and the certificate it finds there (DER in base64); "" for nowhere.
    leaf_address: str = ""
    certificate: str = ""
    #: The invited user; None for an external server, whose URL carries its own credential.
    seed: str | None = None
    public: str | None = None


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One part of an answer to a question."""

    payload: bytes
    headers: Mapping[str, str] = {}


class Answerer(Protocol):
    """What answers another site's question; ``asker`` is vouched for by the servers' permissions alone."""

    def __call__(self, asker: SiteName, what: str, body: bytes) -> AsyncGenerator[Part, None]:
        """The parts of the answer, in order. Raising ``LibrarianError`` ends the answer with that message."""
        ...


class StreamPosition(msgspec.Struct, frozen=True, kw_only=True):
    """What the server says of our own stream."""

    created: str
    last_seq: int


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A message that our own stream has."""

    stream_seq: int
    #: It had it before: this is where it was put then.
    again: bool


class Bus(Protocol):
    """The courier. It may lose, repeat and delay; what is true stands in journals."""

    def state(self) -> BusState:
        """How it is now."""
        ...

    async def use(self, url: str, *, external: bool) -> None:
        """For a site that joins: the bus that its token named. ``external``: the URL carries its own credential."""
        ...

    async def ensure_stream(self) -> StreamPosition:
        """Make this site's stream if it is missing, with the settings of docs/events.md; say where it ends.

        Raises:
            BusUnavailable: the server does not answer.
            BusUnsafe: it is too old, or refuses the settings.
        """
        ...

    async def ensure_readers(self, readers: Mapping[SiteName, str]) -> None:
        """Have one durable consumer on this site's stream for each reader, by its access. Idempotent."""
        ...

    async def publish(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> Stored:
        """Publish into this site's stream and wait for the acknowledgement.

        Raises:
            BusUnavailable: no acknowledgement came. It may have been stored all the same: publish it again.
        """
        ...

    async def revive(self) -> str:
        """Nothing was acknowledged several times in a row: do what can be done, and say what is the matter.

        "" where it is not known, or the bus is not connected. To be called again as long as that lasts.
        """
        ...

    def read(self, origin: SiteName, after: int) -> AsyncGenerator[Message, None]:
        """Messages of ``origin``'s stream behind the cursor ``after``, in order, for ever. Close it when done.

        It survives outages by itself, beginning again behind the last message it yielded. A message is asked for
        only when those before it were taken.
        """
        ...

    def links(self) -> Mapping[SiteName, Link]:
        """How reading each other site stands."""
        ...

    async def announce(self, heads: bytes) -> None:
        """Publish this site's heads to whoever listens now. Lost where nobody does.

        Raises:
            BusUnavailable: not connected.
        """
        ...

    def heads(self) -> AsyncGenerator[tuple[SiteName, bytes], None]:
        """Heads of the sites in the roster as they come, for ever; unchecked. Some may be lost."""
        ...

    def ask(self, peer: SiteName, what: str, body: bytes, *, silence_s: float) -> AsyncGenerator[Part, None]:
        """Ask another site; the parts of its answer, in order and complete when it ends without an error.

        Raises:
            BusUnavailable: it is away, silent for longer than ``silence_s``, or a part was lost.
            PeerError: it refused, with its message.
        """
        ...

    async def answer(self, answerer: Answerer) -> None:
        """Service: answers the questions of the sites in the roster, a bounded number at once for each, for ever."""
        ...

    async def ask_to_join(self, credential: Credential, inviter: SiteName, message: bytes) -> bytes | None:
        """Send a join request as the invited user; what the inviter answered, unchecked, or None for silence.

        Raises:
            BusUnavailable: the bus is away, or does not know the invitation.
        """
        ...

    def joins(self) -> AsyncGenerator[bytes, None]:
        """Join requests addressed to this site, for ever."""
        ...

    async def answer_join(self, key: str, message: bytes) -> None:
        """Answer the invited user of this public NKEY. Lost where nobody listens.

        Raises:
            BusUnavailable: not connected.
        """
        ...

    async def dial(self, hub: SiteName, credential: Credential | None) -> None:
        """For a site with a server of its own that joins: whose server its own one dials.

        ``credential`` is the invitation's while this site is not admitted; None once it is: by its own key, at the
        address and with the certificate that :meth:`set_roster` tells.
        """
        ...

    async def set_roster(self, members: Mapping[SiteName, BusMember], invited: Sequence[str]) -> None:
        """Who may use the bus, and whom this site listens to; ``invited`` are public NKEYs of open invitations.

        Regenerates an own server's configuration and reloads it; links of sites that are gone are cut. Idempotent.
        """
        ...

    async def invite_credential(self) -> Credential:
        """What a token carries of the bus, with a new invited user. Good once :meth:`set_roster` names it."""
        ...

    def leaf_key(self) -> str | None:
        """Public NKEY by which this site's own server dials out; None where it has none."""
        ...

    def public_keys(self) -> Sequence[str]:
        """This site's two public NKEYs, journal and link, where it uses another site's server; else none."""
        ...
