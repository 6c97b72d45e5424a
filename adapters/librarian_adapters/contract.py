"""The contract between the daemon and any way of moving bytes (docs/architecture.md).

An adapter takes *batches*. It gets a list of items, writes each item's bytes into staging, and yields one outcome
for each item as it happens. The words MUST and MAY are meant as in RFC 2119; ``tests/conformance`` checks them.

* :meth:`Adapter.fetch` MUST yield exactly one outcome for every item of the batch, in any order, unless it raises;
  several that come together MAY be yielded as one :class:`Outcomes`.
* It MUST NOT yield ``Landed`` before all bytes of the item were written to its sink and the sink was closed.
* A failure of one item MUST be yielded as ``Failed`` and MUST NOT fail the others. Only what concerns the whole
  batch (no connection, refused credentials) MAY be raised, as a :class:`TransferError`; every item without an
  outcome then counts as failed for that reason.
* It MUST raise or yield nothing but :class:`TransferError` and :class:`StoreError`; ``CancelledError`` passes.
* It MUST NOT write more than an item's announced size, and MUST bound what it holds in memory.
* It MUST end within a bounded time when the other side goes silent.
* It MUST write through :class:`Staging` only: where bytes finally stand is not its business. A program that writes
  files itself gets a directory of its own by :meth:`Staging.scratch`, and hands each file over when it is whole.
* After cancellation it MUST NOT write any more.
* An adapter that starts work elsewhere MUST save a ticket (:meth:`Progress.save_ticket`) *before* it acts. It is
  handed back in :attr:`Batch.ticket` after a restart, with those items of the batch that are still wanted, and nothing
  may be started twice. Work that nobody wants any longer is ended by :meth:`Adapter.abandon`.
* It MAY trust nothing it hears: size and digest are checked by
  :class:`librarian_adapters.wrappers.verifying.VerifyingAdapter`.

Capabilities are data. Retry, rate limit, verification and logging are wrappers of the same interface.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from librarian_protocol.digests import Digest
from librarian_protocol.entries import AdapterOffer, Dial
from librarian_protocol.errors import LibrarianError, StoreError, TransferError
from librarian_protocol.names import MemberPath, Name, SiteName

Buffer = bytes | bytearray | memoryview


class Part(StrEnum):
    """Which bytes of a file an item asks for."""

    #: A single file's bytes.
    FILE = "file"
    #: A book's manifest.
    MANIFEST = "manifest"
    #: The list of the attributes of a book's members. Whether it comes or not, the book does.
    ATTRIBUTES = "attributes"
    #: One member of a book.
    MEMBER = "member"
    #: All members of a book, below one directory; only for adapters with ``trees``. The daemon reads the manifest's
    #: members back itself, and asks for those that are not right one by one.
    TREE = "tree"


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One byte stream to bring."""

    #: Where it goes in staging; unique within the store's staging area. ``[0-9a-z-]+``, or for a member
    #: ``<that>/<member path>``: an adapter treats it as opaque.
    key: str
    part: Part
    #: The file, or the book that the manifest or member belongs to.
    name: Name
    file_digest: Digest
    #: The member's path inside the book; None for other parts.
    member: MemberPath | None = None
    #: Digest of *these* bytes. For a manifest it is the book's digest.
    digest: Digest
    #: Exact size of these bytes; where nobody announced it (:attr:`exact`), the most that is accepted.
    size_bytes: int

    @property
    def exact(self) -> bool:
        """Whether the size was announced: not that of a manifest, nor that of a list of attributes."""
        return self.part not in {Part.MANIFEST, Part.ATTRIBUTES}


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What one call of an adapter brings, all from one store of one site."""

    id: str
    source: SiteName
    #: Id of the source's store that holds the instances.
    store: str
    offer: AdapterOffer
    items: Sequence[Item]
    ticket: bytes | None = None


class Landed(msgspec.Struct, frozen=True):
    """All bytes of the item are in staging."""

    item: Item


class Failed(msgspec.Struct, frozen=True):
    """The item did not come."""

    item: Item
    error: LibrarianError


Outcome = Landed | Failed


class Outcomes(msgspec.Struct, frozen=True):
    """Several outcomes at once: what an adapter MAY yield that brings many small items together."""

    outcomes: Sequence[Outcome]


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What an adapter can do, as data."""

    #: The most items in one batch.
    max_files: int
    #: The most bytes in one batch (one item larger than this forms a batch of its own).
    max_bytes: int
    #: Whether it goes on from the bytes that staging already holds.
    resumable: bool
    #: Whether it computes digests while it writes, so that :class:`VerifyingAdapter` need not read back.
    verifies_inline: bool
    dial: Dial
    #: Whether it brings whole books as directories, and single files beside them, in one batch.
    trees: bool = False
    #: How long nothing may move before a batch is given up; None: as configured for all.
    stall_s: float | None = None


class Sink(Protocol):
    """Where the bytes of one item go."""

    #: Bytes that were there already when it was opened to resume; writing goes on behind them.
    offset: int

    async def write(self, data: Buffer) -> None:
        """Append. The buffer may be reused when this returns. Large ones that begin at a page are written fastest.

        Raises:
            StoreError: the store is full or fails.
        """
        ...

    def fileno(self) -> int | None:
        """The file descriptor, for adapters that can use one; None where there is none.

        At :meth:`close` the file reaches to the descriptor's position: what was passed over is a hole.
        """
        ...

    async def close(self) -> None:
        """Done writing. Idempotent. Durability is the store's business, not the adapter's."""
        ...


class Scratch(Protocol):
    """A directory for a program that writes files itself, on the store's own filesystem.

    It outlives a crash only where its batch has a ticket.
    """

    @property
    def path(self) -> str:
        """Absolute; of mode 0700."""
        ...

    async def adopt(self, item: Item, relative: str) -> bool:
        """Take what stands at ``relative`` as what was brought of the item, whole or not; False where nothing does.

        Only regular files are taken, with one link and of our own; others of our own making are copied. For a TREE all
        files below a directory.

        Raises:
            SourceInvalid: a link, a device or the like stands there.
            SizeMismatch: more bytes stand there than the item has.
            StoreError: it cannot be moved.
        """
        ...

    async def share(self, item: Item, relative: str) -> None:
        """Have the item's own place in staging, with what earlier attempts brought, stand at ``relative`` too.

        A program that writes in place writes there, so that what it wrote outlives a crash. ``adopt`` it all the same.

        Raises:
            StoreError: it cannot be moved.
        """
        ...

    async def remove(self) -> None:
        """Remove the directory and all in it. Idempotent.

        Raises:
            StoreError: it cannot be removed.
        """
        ...


class Staging(Protocol):
    """The part of a store that an adapter may write."""

    async def create(self, item: Item, *, resume: bool = False) -> Sink:
        """Open the item's place, empty, or with what is there already if ``resume``."""
        ...

    async def put(self, items: Sequence[tuple[Item, Buffer]]) -> None:
        """Write many small items whole, each replacing what was there: one call, few thread hops."""
        ...

    async def read_back(self, item: Item) -> tuple[int, Digest]:
        """Size and blake3 of what stands there now: read from the file, or hashed by the sink that wrote all of it.

        Raises:
            StoreError: it cannot be read.
        """
        ...

    async def read_back_many(self, items: Sequence[Item]) -> Sequence[tuple[int, Digest] | StoreError]:
        """As :meth:`read_back` of each item, in their order: one call, one thread hop."""
        ...

    async def discard(self, item: Item) -> None:
        """Remove what is there. Idempotent."""
        ...

    async def scratch(self, name: str) -> Scratch:
        """A directory of that name, made where it is missing. It is kept over a restart while ``name`` is the id of a
        batch with a ticket."""
        ...


class Progress(Protocol):
    """How an adapter says what it is doing."""

    def moved(self, item: Item, size_bytes: int) -> None:
        """That many more bytes of the item have arrived."""
        ...

    async def save_ticket(self, ticket: bytes) -> None:
        """Keep the ticket durably; returns when it is."""
        ...


class Adapter(Protocol):
    """A way to move bytes."""

    name: str
    version: int
    capabilities: Capabilities

    def fetch(self, batch: Batch, staging: Staging, progress: Progress) -> AsyncIterator[Outcome | Outcomes]:
        """Bring the batch. See the module's docstring for what it MUST do."""
        ...

    def offer(self) -> AdapterOffer | None:
        """By which others may fetch from this site, as its settings say; None: it gives nothing away this way."""
        ...

    async def abandon(self, ticket: bytes) -> None:
        """End the work of a ticket that nobody wants any longer. Idempotent.

        Raises:
            TransferError: it could not be ended now; it will be tried again.
        """
        ...

    async def close(self) -> None:
        """Give up connections. Idempotent."""
        ...


class Signer(Protocol):
    """Signs data requests as this site."""

    def __call__(
        self,
        *,
        source: SiteName,
        method: str,
        target: str,
        range: str,  # noqa: A002 - the header's name
        body: bytes,
    ) -> dict[str, str]:
        """The headers to send, the body's hash among them. See :mod:`librarian_protocol.requests`."""
        ...


def no_certificate(site: SiteName) -> str | None:
    """Where there is no roster, nothing is pinned."""
    return None


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What an adapter is made from."""

    site: SiteName
    sign: Signer
    #: ``[adapters.<name>]`` of the site's configuration.
    settings: Mapping[str, Any]
    #: Roots of the stores that this machine can read itself, by store id.
    roots: Mapping[str, str]
    #: Labels of this site's stores, by store id: settings name stores by label.
    labels: Mapping[str, str] = {}
    #: Where an adapter may keep what it must find again, such as tokens; it makes the directory, of mode 0700.
    state: str = ""
    #: The certificate that a site announces now, DER in base64; None where none is to be pinned.
    certificate: Callable[[SiteName], str | None] = no_certificate
    #: PEM file of the authorities that certify sites which announce none; "" where no authority is configured.
    ca_file: str = ""
    #: Where a source that cannot be dialled brings what it was asked for by a letter; None where it cannot.
    pushes: Pushes | None = None
    #: Whether the other sites stand on this machine: else no address of another site leads to its loopback interface.
    loopback_peers: bool = False


class Push(Protocol):
    """What one ticket lets one site bring, once."""

    source: SiteName
    content_type: str

    async def receive(self, chunks: AsyncIterator[bytes], begin: int, length: int | None) -> None:
        """Take the body of the one request that a ticket is good for.

        ``begin`` is the offset that the other side says it begins at, ``length`` how much it says will come.

        Raises:
            TransferError: it is not what was asked for, or broke off; what was whole is kept.
        """
        ...

    def end(self, error: TransferError) -> None:
        """Nothing will come, and why."""
        ...


class Pushes(Protocol):
    """Live tickets, and the way to ask for their use."""

    def open(self, ticket: str, push: Push) -> None:
        """Let the ticket be used once. Raises TransferError when too many are open."""
        ...

    def close(self, ticket: str) -> None:
        """It is good no more. Idempotent."""
        ...

    def new_ticket(self) -> str:
        """128 random bits in hex."""
        ...

    def expires(self) -> int:
        """Seconds since 1970 until which a ticket made now is good."""
        ...

    async def ask(self, to: SiteName, verb: str, body: bytes) -> None:
        """Have a letter sent; returns when it is written down. It may be slow, or lost. ``body`` is JSON.

        Raises:
            TransferError: too many letters wait for that site already, or it did not answer the last ones.
        """
        ...


class Factory(Protocol):
    """What an entry point of the group ``librarian.adapters`` names."""

    def __call__(self, context: Context) -> Adapter:
        """Make the adapter. Opens no connection yet.

        Raises:
            ConfigInvalid: a setting is wrong.
        """
        ...


ENTRY_POINTS = "librarian.adapters"
__all__ = [
    "ENTRY_POINTS",
    "Adapter",
    "Batch",
    "Buffer",
    "Capabilities",
    "Context",
    "Factory",
    "Failed",
    "Item",
    "Landed",
    "Outcome",
    "Part",
    "Progress",
    "Push",
    "Pushes",
    "Scratch",
    "Signer",
    "Sink",
    "Staging",
]
