"""Abilities that only some stores have: each is a port, or None.

A service that needs one asks for it by :func:`directory_of`, :func:`keeping_of` or :func:`listing_of`, and reports the
reason if the store has none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

import msgspec

from librarian_protocol.api import DoctorCheck
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Unit
from librarian_protocol.errors import NotPossible, SourceMissing, StoreError
from librarian_protocol.manifest import MemberFile
from librarian_protocol.marking import Comparison
from librarian_protocol.names import RESERVED_COMPONENT, Name


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """An instance that should be at its name."""

    name: Name
    digest: Digest
    unit: Unit
    size_bytes: int


class Marked(msgspec.Struct, frozen=True, kw_only=True):
    """The result of restoring a marker."""

    was_marked: bool
    compared: Comparison
    #: Some missing or wrong entries.
    examples: Sequence[str]


class LocalDirectory(Protocol):
    """The names of the store are plain files below a directory of this host.

    So an adapter can use files of the same host, and files dropped on the same filesystem are renamed into the store.
    Without it every byte goes through staging.
    """

    @property
    def path(self) -> str:
        """Absolute."""
        ...

    async def mark(self, wanted: Sequence[Expected]) -> Marked:
        """Restore the marker that says which store it is, if the content looks like that store. Idempotent.

        Raises:
            NotPossible: it does not look like that store, or is marked as another one.
            StoreError: the directory cannot be read or written.
        """
        ...

    async def try_durability(self) -> DoctorCheck:
        """How long small files take to become durable there. Some are made and removed."""
        ...

    async def try_directory(self) -> DoctorCheck:
        """Whether a directory that is made there gets the mode and the group that the settings ask for."""
        ...


class Keeping(Protocol):
    """Bytes can leave their name and are kept: renames inside the store, never overwriting.

    Nothing is deleted but bad bytes, when good ones were found in their place.
    """

    async def set_aside(self, name: Name, digest: Digest) -> None:
        """Take the name from bytes that were found to be these. Idempotent.

        Raises:
            SourceMissing: they are not there.
            StoreError: the store does not do it.
        """
        ...

    async def is_aside(self, digest: Digest) -> bool:
        """Whether bytes are set aside under this digest.

        Raises:
            StoreError: it cannot be looked at.
        """
        ...

    async def bring_back(self, name: Name, digest: Digest) -> None:
        """Give set-aside bytes their name back. Idempotent.

        Raises:
            SourceMissing: they are not there.
            NameOccupied: something else is at the name.
            StoreError: the store does not do it.
        """
        ...

    async def free_place(self, digest: Digest, *, withdrawn: bool) -> str:
        """A free path for bytes that leave their name for good, below the store's location.

        ``withdrawn``: an administrator withdrew the file; else its bytes are bad.

        Raises:
            StoreError: it cannot be looked at.
        """
        ...

    async def move_away(self, name: Name, digest: Digest, place: str, *, aside: bool) -> bool:
        """Move the bytes at the name, or aside, to ``place``. Idempotent. Returns whether anything is there.

        Raises:
            StoreError: the store does not do it.
        """
        ...

    async def stage_good(self, name: Name, members: Sequence[MemberFile], key: str) -> Sequence[bool]:
        """Read members of the book at the name; those that are right stand below ``key`` in staging, too.

        No byte is copied: they must not be written to. One answer for each; False also where something is staged for
        it, or the store cannot do this.

        Raises:
            StoreError: the store does not answer.
        """
        ...

    async def drop_bad(self, digest: Digest) -> bool:
        """Remove the bad bytes that were kept under a digest. Idempotent. Returns whether none are left.

        Raises:
            StoreError: the store does not do it.
        """
        ...


class InTrash(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a directory in trash, as its list names it."""

    #: Its place there.
    number: int
    name: Name
    digest: Digest
    unit: Unit
    size_bytes: int


def trash_place(nonce: str, number: int) -> Name:
    """Where a file stands in trash, as a path below the store that ``open_part`` and ``check`` take for a name."""
    return Name(f"{RESERVED_COMPONENT}/trash/{nonce}/{number}")


def aside_place(digest: Digest) -> Name:
    """Where the bytes of a file stand that is set aside, likewise."""
    return Name(f"{RESERVED_COMPONENT}/conflict/{digest.hex}")


class Trash(Protocol):
    """Bytes can leave their names, wait, and come back or end: renames inside the store, never overwriting.

    A directory in trash has a list of what is in it, durable before the first byte comes there: a start puts things
    back by it, whatever the catalog says. What stands there is read by its :func:`trash_place`.
    """

    async def put(self, nonce: str, files: Sequence[InTrash]) -> Sequence[StoreError | SourceMissing | None]:
        """Rename each from its name into the directory, durably. One outcome for each, in order; None: it is there.

        ``SourceMissing``: nothing stands at its name. Any other error: it may stand here or there.

        Raises:
            StoreError: nothing was renamed.
        """
        ...

    async def lists(self) -> Mapping[str, Sequence[InTrash]]:
        """By directory, what it lists and still has.

        Raises:
            StoreError: it cannot be looked at.
        """
        ...

    async def bring_back(self, nonce: str, file: InTrash, *, aside: bool) -> bool:
        """Give it its name again, or its place among what is set aside, durably. Idempotent.

        False: something else stands there, and it stays in trash; or it is not in trash.

        Raises:
            StoreError: the store does not do it.
        """
        ...

    async def empty(self, nonce: str, files: Sequence[InTrash]) -> None:
        """Unlink these, and the directory with its list once nothing is left. Idempotent.

        Raises:
            StoreError: the store does not do it; some may be left.
        """
        ...


class DirEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry in a directory of a store."""

    #: Path below the store, as the store has it.
    path: bytes
    directory: bool
    #: Neither a directory nor a regular file: not ours.
    other: bool
    size_bytes: int


#: A book that a directory may be: its digest, and the bytes of all its members.
Candidate = tuple[Digest, int]


class BookFinder(Protocol):
    """What the manifests of one store list."""

    async def candidates(self, directory: bytes) -> Sequence[Candidate]:
        """Books that a directory of the store may be, by its direct content.

        Raises:
            StoreError: it cannot be listed.
        """
        ...


class Listing(Protocol):
    """The content of the store can be listed, to find entries without a row and to rebuild a lost catalog."""

    def entries(self, directory: bytes) -> AsyncIterator[Sequence[DirEntry]]:
        """The content of one directory, in pages; ``b""`` is the store itself, without its own files.

        A directory that is gone is empty.

        Raises:
            StoreError: it cannot be listed.
        """
        ...

    async def books(self) -> BookFinder:
        """What the store's manifests list, to find books again. Reads all of them.

        Raises:
            StoreError: they cannot be listed.
        """
        ...


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """The further abilities of one store; None: it lacks that one."""

    directory: LocalDirectory | None = None
    keeping: Keeping | None = None
    listing: Listing | None = None
    trash: Trash | None = None


class Able(Protocol):
    """A store, with its abilities only."""

    label: str

    @property
    def can(self) -> Capabilities:
        """As :attr:`librarian_daemon.ports.store.Store.can`."""
        ...


def directory_of(store: Able) -> LocalDirectory:
    """Raises NotPossible: the store is no directory of this host."""
    if store.can.directory is None:
        raise _unable(store, "is no directory of this host")
    return store.can.directory


def keeping_of(store: Able) -> Keeping:
    """Raises NotPossible: bytes cannot leave their name in this store."""
    if store.can.keeping is None:
        raise _unable(store, "cannot set bytes aside")
    return store.can.keeping


def listing_of(store: Able) -> Listing:
    """Raises NotPossible: the content of this store cannot be listed."""
    if store.can.listing is None:
        raise _unable(store, "cannot list what stands in it")
    return store.can.listing


def trash_of(store: Able) -> Trash:
    """Raises NotPossible: nothing can be given up in this store."""
    if store.can.trash is None:
        raise _unable(store, "has no trash")
    return store.can.trash


def _unable(store: Able, what: str) -> NotPossible:
    return NotPossible(f"store {store.label!r} {what}", hint="this kind of store cannot do it (docs/adr/0032)")
