"""A store, as services see it: the abilities of every store.

Abilities of only some stores are in :mod:`librarian_daemon.ports.store_capabilities`. A store may be a directory of
this host, an object store, or a store on another host (docs/adr/0032).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from librarian_adapters.contract import Staging
from librarian_daemon.fs.book_tree import Extra
from librarian_daemon.ports.names_lock import NamesLock
from librarian_daemon.ports.store_capabilities import Capabilities, Expected
from librarian_protocol.attributes import Attributes
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Entry, StoreRole, Unit
from librarian_protocol.errors import LibrarianError, SourceMissing, StoreError
from librarian_protocol.manifest import Member
from librarian_protocol.names import MemberPath, Name


class Action(StrEnum):
    """What a landing does at the name."""

    PLACE = "place"
    #: The bytes at the name leave it for ``rel``: an administrator withdrew the file.
    WITHDRAW = "withdraw"
    #: Bad bytes at the name and the good ones change places; the bad ones are kept in ``.librarian/bad``.
    HEAL = "heal"
    #: Bad bytes at the name leave it for ``rel``, below ``.librarian/bad``. Only rows of earlier versions say so.
    CLEAR = "clear"


#: Nothing is placed: the bytes at the name leave it.
LEAVING = frozenset({Action.WITHDRAW, Action.CLEAR})


class Landing(msgspec.Struct, frozen=True, kw_only=True):
    """Verified bytes on their way to their name: the content of a ``landing`` row.

    ``root`` and ``rel`` say where the bytes are now. ``root`` is the store's ``staging_root``, and ``rel`` a staging
    key; or, only in a store that has a directory, ``root`` is a drop directory of this host, and ``rel`` a path below
    it. For bytes that leave their name ``root`` is the store's location, and ``rel`` the answer of ``free_place``.
    """

    id: str
    store: str
    root: str
    rel: str
    name: Name
    digest: Digest
    size_bytes: int
    unit: Unit
    #: For a book: path of its manifest below the store's staging; "" if it is in its final place already.
    manifest_rel: str = ""
    #: The journal entry of the file's commit, without number and time.
    entry: Entry
    #: The transfer that this landing completes; None for intake.
    transfer: int | None = None
    action: Action = Action.PLACE
    #: The file's attributes.
    attributes: Attributes = Attributes()
    #: Path of the list of a book's members' attributes below the store's staging; "" if there is none.
    list_rel: str = ""


class Placed(msgspec.Struct, frozen=True):
    """The bytes are durable at the name."""

    landing: Landing


class NotPlaced(msgspec.Struct, frozen=True):
    """The bytes were not placed; they are where they were."""

    landing: Landing
    error: LibrarianError


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """The result of reading an instance. ``error`` is None if every byte is right.

    ``extra`` names some entries in a book that are not members, ``extra_count`` counts them: the book is right.
    """

    size_bytes: int
    digest: Digest | None
    error: LibrarianError | None = None
    extra: Sequence[str] = ()
    extra_count: int = 0
    #: Members of a book that are wrong, if it is known which: the others are right. "" is its manifest.
    bad: Sequence[str] = ()


class Looked(msgspec.Struct, frozen=True):
    """The result of looking at a name: kinds, names and sizes."""

    #: None if nothing is wrong.
    error: LibrarianError | None
    #: Entries in a book that are not members.
    extra: Extra


class WantedPart(msgspec.Struct, frozen=True, kw_only=True):
    """A part of an instance to be read whole; all but ``most_bytes`` as :meth:`Store.open_part` takes it."""

    name: Name
    digest: Digest
    part: str
    member: MemberPath | None
    #: A larger one is not read.
    most_bytes: int


class TooLarge(msgspec.Struct, frozen=True):
    """The part has more bytes than were wanted at most. None was read."""

    size_bytes: int


#: What came of reading a part whole.
PartRead = bytes | TooLarge | SourceMissing | StoreError


class Space(msgspec.Struct, frozen=True, kw_only=True):
    """How full a store is. Inodes are 0 of 0 if the store does not count them."""

    total_bytes: int
    free_bytes: int
    total_inodes: int
    free_inodes: int


class Reader(Protocol):
    """An open instance, or one part of it."""

    size_bytes: int

    async def read(self, begin: int, size_bytes: int) -> bytes:
        """That many bytes from ``begin``; fewer only at its end.

        Raises:
            StoreError: they cannot be read.
        """
        ...

    def fileno(self) -> int | None:
        """A descriptor open for reading, for faster reading; None if the store has none."""
        ...

    def close(self) -> None:
        """Idempotent."""
        ...


class Store(Protocol):
    """A place at this site that holds bytes. A failure raises, or returns, a ``StoreError``."""

    id: str
    label: str
    role: StoreRole
    #: Its location for people: a directory, an address.
    location: str
    #: Who may move bytes to and from their names.
    names: NamesLock

    @property
    def can(self) -> Capabilities:
        """Its further abilities."""
        ...

    @property
    def staging(self) -> Staging:
        """Where adapters write."""
        ...

    @property
    def staging_root(self) -> str:
        """The :attr:`Landing.root` of staged bytes. Only the store can interpret it."""
        ...

    async def seal(self, landings: Sequence[Landing]) -> Sequence[Landing | NotPlaced]:
        """Make the bytes durable in their place, with their modes. Nothing is guaranteed before this.

        One outcome for each, in order. A book that is not exactly what its manifest lists is not sealed.
        """
        ...

    async def place(self, landings: Sequence[Landing]) -> Sequence[Placed | NotPlaced]:
        """Bring each to its name, never overwriting; when this returns they are durable there. Idempotent.

        One outcome for each, in order. A landing that is already at its name, and no longer where it was, counts as
        placed. If equal bytes are at the name it counts as placed, too, and what is staged of it is removed.
        """
        ...

    async def recover(self, landing: Landing) -> Placed | NotPlaced:
        """Finish a landing that a crash interrupted: read the bytes again, wherever they are, then place them."""
        ...

    async def check(self, name: Name, digest: Digest, unit: Unit, size_bytes: int) -> Check:
        """Read the instance whole and compare. For a book: its manifest and every member; others are reported."""
        ...

    async def look(self, wanted: Sequence[Expected]) -> Sequence[Looked]:
        """What is at each name, by kinds, names and sizes; no byte is read.

        Raises:
            StoreError: one cannot be looked at.
        """
        ...

    async def open_part(self, name: Name, digest: Digest, part: str, member: MemberPath | None) -> Reader:
        """Open a file, a book's manifest or a member for reading; ``part`` is a value of ``Part``.

        Raises:
            SourceMissing: it is not there.
            StoreNotMounted: nothing is.
        """
        ...

    async def read_parts(self, wanted: Sequence[WantedPart]) -> Sequence[PartRead]:
        """Read small parts whole. One outcome for each, in order: what is wrong with one does not stop the others.

        ``SourceMissing`` and ``StoreNotMounted`` mean what they mean of :meth:`open_part`; any other ``StoreError``: it
        cannot be opened or read, or ends before its size. The caller bounds the sum of ``most_bytes``: all that is read
        is in memory at once.
        """
        ...

    def manifest(self, digest: Digest) -> AsyncIterator[Sequence[Member]]:
        """The members of a stored book, in pages.

        Raises:
            SourceMissing: no manifest of that digest is stored.
        """
        ...

    def staged_manifest(self, key: str, digest: Digest) -> AsyncIterator[Sequence[Member]]:
        """The members named by a manifest in staging, in pages.

        Raises:
            ManifestInvalid: it is not a manifest, or not the one of that digest; only after the last page.
            StoreError: it cannot be read.
        """
        ...

    async def space(self) -> Space:
        """How full it is."""
        ...

    async def has_staged(self, key: str) -> bool:
        """Whether anything is in staging under the key, complete or not."""
        ...

    async def discard(self, keys: Sequence[str]) -> None:
        """Remove what is staged under these keys, trees and all. Idempotent."""
        ...

    async def staged(self) -> frozenset[str]:
        """The top-level keys in staging."""
        ...


class Witness(Protocol):
    """A store, as a witness of the head of the site's journal."""

    label: str

    async def write_head(self, text: str) -> None:
        """Replace the stored journal head, durably. Idempotent.

        Raises:
            StoreError: the store does not take it.
        """
        ...

    async def read_head(self) -> str | None:
        """What :meth:`write_head` wrote last; None if it never did.

        Raises:
            StoreError: the store does not answer.
        """
        ...

    def withhold(self, why: str) -> None:
        """As :meth:`SiteStore.withhold`."""
        ...


class Probed(Protocol):
    """A store, as health checks use it. Blocks: called in its own thread, which may hang."""

    id: str
    label: str
    location: str

    def probe(self) -> Space:
        """How full it is, having written and removed something small.

        Raises:
            StoreNotMounted, StoreFull, NoInodes, StoreFault: what keeps anything from being written there.
        """
        ...

    def measure(self) -> Space:
        """How full it is. Nothing is written; raises as :meth:`probe`."""
        ...


class SiteStore(Store, Witness, Probed, Protocol):
    """A store with all operations of a site, from open to close: what every kind of store implements.

    One that was not there at the start is *withheld*: it answers that it is not mounted, whatever is there, until its
    twin has finished what a crash left in it.
    """

    async def open(self) -> None:
        """Check that it is this store, and that it can do what the commit protocol needs. Idempotent.

        Raises:
            StoreNotMounted: it is not there, or another one is.
            StoreFault: it cannot do what the commit protocol needs.
        """
        ...

    def close(self) -> None:
        """Close what it holds open. Idempotent."""
        ...

    @property
    def withheld(self) -> bool:
        """Whether it answers that it is not mounted, whatever is there."""
        ...

    def withhold(self, why: str) -> None:
        """Refuse all work until :meth:`admit`: what a crash left there must be finished first."""
        ...

    async def admit(self) -> None:
        """Work again: what was left is finished. Raises as :meth:`open`; then it is still withheld."""
        ...

    def twin(self) -> SiteStore:
        """The same store, not open and not withheld, for the service that finishes what was left."""
        ...
