"""Abilities that only some stores have: each is a port, or None.

A service that needs one asks for it by :func:`directory_of`, :func:`keeping_of` or :func:`listing_of`, and reports the
reason if the store has none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import msgspec

from librarian_protocol.api import DoctorCheck
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Unit
from librarian_protocol.errors import NotPossible
from librarian_protocol.manifest import MemberFile
from librarian_protocol.marking import Comparison
from librarian_protocol.names import Name


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


def _unable(store: Able, what: str) -> NotPossible:
    return NotPossible(f"store {store.label!r} {what}", hint="this kind of store cannot do it (docs/adr/0032)")
