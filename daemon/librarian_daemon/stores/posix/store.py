"""A store on a POSIX filesystem: implements :class:`librarian_daemon.ports.store.SiteStore`."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import islice
from typing import TypedDict

from librarian_adapters.beneath import READ_FILE, open_beneath
from librarian_adapters.contract import Part, Staging
from librarian_daemon.fs import book_tree
from librarian_daemon.fs.beneath import opened, stat_beneath, write_file
from librarian_daemon.fs.hashing import Stopped, hash_fd
from librarian_daemon.fs.os_errors import naming, store_error
from librarian_daemon.fs.threads import Threads
from librarian_daemon.ports.names_lock import NamesLock
from librarian_daemon.ports.store import Check, Landing, Looked, NotPlaced, PartRead, Placed, Space, WantedPart
from librarian_daemon.ports.store_capabilities import Capabilities, Expected
from librarian_daemon.stores.posix import layout, listing, probe
from librarian_daemon.stores.posix.durability import Durability, Sync
from librarian_daemon.stores.posix.keeping import PosixKeeping
from librarian_daemon.stores.posix.layout import HEAD, OURS, Marker, Root, manifest_path
from librarian_daemon.stores.posix.local_directory import PosixDirectory
from librarian_daemon.stores.posix.modes import DEFAULT, Modes
from librarian_daemon.stores.posix.parts import Parts, PosixReader
from librarian_daemon.stores.posix.placer import Placer
from librarian_daemon.stores.posix.sealer import Sealer
from librarian_daemon.stores.posix.staging import FileStaging
from librarian_daemon.stores.posix.trash import PosixTrash
from librarian_protocol.digests import Digest
from librarian_protocol.entries import StoreRole, Unit
from librarian_protocol.errors import ChecksumMismatch, SizeMismatch, SourceMissing, StoreError
from librarian_protocol.manifest import Member
from librarian_protocol.names import MemberPath, Name

PAGE_MEMBERS = 1000
#: A directory, a file in place of a directory, or a link: not our file.
_SOMETHING_ELSE = frozenset({errno.EISDIR, errno.ENOTDIR, errno.ELOOP})


class _Options(TypedDict):
    modes: Modes
    sync: Sync


class PosixStore:
    """The namespace as plain files below ``root``, and ``.librarian/`` beside it (docs/architecture.md)."""

    def __init__(
        self,
        root: str,
        marker: Marker,
        role: StoreRole,
        *,
        modes: Modes = DEFAULT,
        sync: Sync = "fsync",
    ) -> None:
        """Nothing is touched before :meth:`open`.

        Args:
            root: the absolute root directory.
            marker: which store must be there.
            role: what it is for.
            modes: of files after commit, and of directories.
            sync: how many files at once become durable (``stores/posix/durability.py``).
        """
        self.id = str(marker.id)
        self.label = str(marker.label)
        self.role = role
        self.names = NamesLock()
        self.location = self.root = root
        self._root = Root(root, marker, modes)
        self._options: _Options = {"modes": modes, "sync": sync}
        self._threads = Threads(f"store-{marker.label}")
        self._staging = FileStaging(self._root.staging, root, self._threads)
        durability = Durability(self._root, self._threads, sync)
        self._sealer = Sealer(self._root, self._threads, durability)
        self._placer = Placer(self._root, self._threads, self._sealer)
        self._parts = Parts(self._root)
        self._can = Capabilities(
            directory=PosixDirectory(self._root, durability),
            keeping=PosixKeeping(self._root, self._threads),
            listing=listing.PosixListing(self._root, self._threads),
            trash=PosixTrash(self._root, self._threads),
        )

    @staticmethod
    def create(root: str, marker: Marker, modes: Modes = DEFAULT) -> None:
        """As :func:`librarian_daemon.stores.posix.layout.create`: make an empty or new directory a store."""
        layout.create(root, marker, modes)

    @staticmethod
    def read_marker(root: str) -> Marker | None:
        """As :func:`librarian_daemon.stores.posix.layout.read_marker`: which store is there, if any."""
        return layout.read_marker(root)

    @property
    def marker(self) -> Marker:
        """The marker that the root must have."""
        return self._root.marker

    @property
    def can(self) -> Capabilities:
        """A directory of this host has all capabilities."""
        return self._can

    @property
    def staging(self) -> Staging:
        """Where adapters write."""
        return self._staging

    @property
    def staging_root(self) -> str:
        """The directory that staging keys are relative to."""
        return layout.staging_root(self.root)

    @property
    def case_insensitive(self) -> bool:
        """Whether names that differ only in letter case are one file. Known once open."""
        return self._placer.case_insensitive

    async def open(self) -> None:
        """Check marker, filesystem and rights; make what is missing in ``.librarian/``. Idempotent.

        Raises:
            StoreNotMounted: the marker is missing or is another store's.
            StoreFault: the filesystem cannot do what the commit protocol needs.
        """
        self._placer.case_insensitive = await self._threads.run(self._root.prepare)

    def close(self) -> None:
        """Stop the threads. Idempotent."""
        self._threads.close()

    # ---- one that was not there at the start -------------------------------------------------------------

    @property
    def withheld(self) -> bool:
        """Whether it answers that it is not mounted, whatever is there."""
        return bool(self._root.withheld)

    def withhold(self, why: str) -> None:
        """Refuse all work until :meth:`admit`: what a crash left there must be finished first."""
        self._root.withheld = why

    async def admit(self) -> None:
        """Work again: what was left is finished. Raises as :meth:`open`; then it is still withheld."""
        why, self._root.withheld = self._root.withheld, ""
        try:
            await self.open()
        except StoreError:
            self._root.withheld = why
            raise

    def twin(self) -> PosixStore:
        """The same store, not open and not withheld, for the service that finishes what was left."""
        return PosixStore(self.root, self._root.marker, self.role, **self._options)

    def probe(self) -> Space:
        """How full it is, having written and removed a small file. Blocks: called in a thread that may hang.

        Raises:
            StoreNotMounted, StoreFull, NoInodes, StoreFault: what keeps anything from being written there.
        """
        return probe.probe(self._root)

    async def seal(self, landings: Sequence[Landing]) -> Sequence[Landing | NotPlaced]:
        """Make the bytes durable in their place, with their modes and a book's empty directories.

        One outcome for each, in order. A landing whose fsync failed is discarded if it is in staging. A book
        that is not exactly what its manifest lists (names and sizes) is not sealed.
        """
        return await self._threads.run(self._sealer.seal, landings)

    async def place(self, landings: Sequence[Landing]) -> Sequence[Placed | NotPlaced]:
        """Rename each to its name, never over anything, and make both directories durable. Idempotent.

        One outcome for each, in order. If the same bytes are already at the name, the landing counts as placed, and its
        staged bytes stay: the caller discards them once the catalog has the file.
        """
        return await self._threads.run(self._placer.place, landings)

    async def recover(self, landing: Landing) -> Placed | NotPlaced:
        """Finish a landing that a crash interrupted: read the bytes again, wherever they are. Idempotent."""
        return await self._threads.run(self._placer.recover, landing)

    async def check(self, name: Name, digest: Digest, unit: Unit, size_bytes: int) -> Check:
        """Read the instance whole and compare; stops between chunks when cancelled.

        ``error`` has the result: ``StoreNotMounted`` or ``StoreFault`` say nothing about the bytes.
        """
        stop = threading.Event()
        try:
            return await self._threads.run_stoppable(stop, self._check, name, digest, unit, size_bytes, stop)
        except StoreError as exc:
            return Check(size_bytes=0, digest=None, error=exc)

    def _check(self, name: Name, digest: Digest, unit: Unit, size_bytes: int, stop: threading.Event) -> Check:
        extra, bad = book_tree.Extra(), book_tree.BadMembers()
        with self._root.opened() as root:
            try:
                if unit is Unit.BOOK:
                    with (
                        opened(root, os.fsencode(name)) as book,
                        opened(root, manifest_path(digest), READ_FILE) as manifest,
                    ):
                        found_bytes, wrong = book_tree.compare(
                            book, manifest, digest, read_bytes=True, stop=stop, extra=extra, bad=bad
                        )
                    found = None if wrong else digest
                else:
                    with opened(root, os.fsencode(name), READ_FILE) as fd:
                        found_bytes, found = hash_fd(fd, stop)
                    wrong = None if found == digest else ChecksumMismatch(f"its bytes are {found}, not {digest}")
            except FileNotFoundError:
                return Check(size_bytes=0, digest=None, error=SourceMissing(f"{name!a} is not in the store"))
            except OSError as exc:
                if exc.errno in _SOMETHING_ELSE:
                    wrong = SourceMissing(f"something else stands at {name!a} in the store: {exc.strerror}")
                    return Check(size_bytes=0, digest=None, error=wrong)
                error = store_error(exc, f"reading {name!a}", self.root)
                return Check(size_bytes=0, digest=None, error=error)
            except Stopped:
                return Check(size_bytes=0, digest=None, error=None)  # nobody waits for the result
        if found_bytes != size_bytes and (wrong is None or unit is Unit.FILE):
            wrong = SizeMismatch(f"{name!a} has {found_bytes} bytes, not {size_bytes}")
        return Check(
            size_bytes=found_bytes,
            digest=found,
            error=wrong,
            extra=extra.examples,
            extra_count=extra.count,
            bad=bad.known if wrong is not None else (),
        )

    async def open_part(self, name: Name, digest: Digest, part: str, member: MemberPath | None) -> PosixReader:
        """Open a file, a book's manifest or a member for reading; the caller closes it.

        A list of attributes is found by its own digest; then the name is that of its book.

        Raises:
            SourceMissing: it is not there, or not a regular file.
            StoreNotMounted: nothing is.
            StoreFault: it cannot be opened.
        """
        return await self._threads.run(self._parts.open, name, digest, part, member)

    async def read_parts(self, wanted: Sequence[WantedPart]) -> Sequence[PartRead]:
        """Read small parts whole, in one call of a thread: one outcome for each, in order."""
        return await self._threads.run(self._parts.read, wanted)

    async def manifest(self, digest: Digest) -> AsyncIterator[Sequence[Member]]:
        """The members of a stored book, in pages of at most 1000.

        Raises:
            SourceMissing: no manifest of that digest is stored.
            ManifestInvalid: what is stored is not that manifest; only after the last page.
            StoreNotMounted, StoreFault: the store does not answer.
        """
        reader = await self._threads.run(self._parts.open, Name(""), digest, Part.MANIFEST, None)
        async for page in self._pages(reader, digest):
            yield page

    async def staged_manifest(self, key: str, digest: Digest) -> AsyncIterator[Sequence[Member]]:
        """The members named by a manifest in staging, in pages of at most 1000.

        Raises:
            ManifestInvalid: the bytes there are not that manifest; only after the last page.
            StoreNotMounted, StoreFault: the store does not answer, or nothing is there.
        """
        reader = await self._threads.run(self._open_staged, key)
        async for page in self._pages(reader, digest):
            yield page

    def _open_staged(self, key: str) -> PosixReader:
        with self._root.staging() as staging, naming("opening a staged manifest", self.root):
            return PosixReader(open_beneath(staging, os.fsencode(key), READ_FILE))

    async def _pages(self, reader: PosixReader, digest: Digest) -> AsyncIterator[Sequence[Member]]:
        try:
            members = book_tree.read_manifest(reader.fileno(), digest)
            while page := await self._threads.run(self._page, members):
                yield page
        finally:
            reader.close()

    def _page(self, members: Iterator[Member]) -> list[Member]:
        with naming("reading a manifest", self.root):
            return list(islice(members, PAGE_MEMBERS))

    async def look(self, wanted: Sequence[Expected]) -> list[Looked]:
        """What is at each name, by kinds, names and sizes.

        Raises:
            StoreError: one cannot be looked at.
        """
        return await self._threads.run(self._look, wanted)

    def _look(self, wanted: Sequence[Expected]) -> list[Looked]:
        found: list[Looked] = []
        for expected in wanted:
            with naming(f"looking at {expected.name!a}", self.root):
                found.append(listing.look(self._root, expected))
        return found

    async def space(self) -> Space:
        """How full the filesystem is, for a user without privileges.

        Raises:
            StoreNotMounted, StoreFault: the store does not answer.
        """
        return await self._threads.run(self.measure)

    def measure(self) -> Space:
        """As :meth:`space`; blocks."""
        with self._root.opened() as root, naming("asking for free space", self.root):
            return probe.space(root)

    async def discard(self, keys: Sequence[str]) -> None:
        """Remove what is staged under these keys, trees and all. Idempotent.

        Raises:
            StoreNotMounted, StoreFault: the store does not answer.
        """
        await self._threads.run(self._staging.remove, keys)

    async def has_staged(self, key: str) -> bool:
        """Whether anything is in staging under the key, complete or not.

        Raises:
            StoreNotMounted, StoreFault: the store does not answer.
        """
        return await self._threads.run(self._has_staged, os.fsencode(key))

    def _has_staged(self, key: bytes) -> bool:
        with self._root.staging() as staging, naming("looking into staging", self.root):
            try:
                stat_beneath(staging, key)
            except FileNotFoundError:
                return False
        return True

    async def staged(self) -> frozenset[str]:
        """The top-level keys in staging.

        Raises:
            StoreNotMounted, StoreFault: the store does not answer.
        """
        return await self._threads.run(self._staged)

    def _staged(self) -> frozenset[str]:
        with self._root.staging() as staging, naming("listing staging", self.root):
            return frozenset(os.listdir(staging))

    async def write_head(self, text: str) -> None:
        """Replace ``.librarian/head`` durably. Idempotent.

        Raises:
            StoreNotMounted, StoreFull, NoInodes, StoreFault: the store does not take it.
        """
        await self._threads.run(self._write_head, text)

    def _write_head(self, text: str) -> None:
        with (
            self._root.opened() as root,
            naming("writing the journal's head", self.root),
            opened(root, OURS) as ours,
        ):
            write_file(ours, HEAD, text.encode())

    async def read_head(self) -> str | None:
        """What :meth:`write_head` wrote last; None if it never did.

        Raises:
            StoreNotMounted, StoreFault: the store does not answer.
        """
        return await self._threads.run(self._read_head)

    def _read_head(self) -> str | None:
        with self._root.opened() as root, naming("reading the journal's head", self.root):
            data = layout.read_small(root, HEAD)
        return None if data is None else data.decode("utf-8", "replace")
