"""A store on a POSIX filesystem: implements :class:`librarian_daemon.ports.Store`."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import islice

from librarian_adapters.contract import Part, Staging
from librarian_daemon.ports import Check, Landing, NotPlaced, Placed, Space
from librarian_daemon.store import aside, books, layout, looking
from librarian_daemon.store.confined import READ_FILE, open_beneath, opened, stat_beneath, write_file
from librarian_daemon.store.faults import naming, store_error
from librarian_daemon.store.finding import BookFinder, Candidate
from librarian_daemon.store.layout import HEAD, OURS, Marker, Root, manifest_path
from librarian_daemon.store.looking import Standing
from librarian_daemon.store.placing import Placer
from librarian_daemon.store.reading import Stopped, hash_fd
from librarian_daemon.store.sealing import Sealer
from librarian_daemon.store.staging import FileStaging
from librarian_daemon.store.threads import Threads
from librarian_protocol.digests import Digest
from librarian_protocol.entries import StoreRole, Unit
from librarian_protocol.errors import ChecksumMismatch, LibrarianError, SizeMismatch, SourceMissing, StoreError
from librarian_protocol.manifest import Member
from librarian_protocol.names import MemberPath, Name

PAGE_MEMBERS = 1000
#: A directory, a file in place of a directory, a link: not ours, whatever it is.
_SOMETHING_ELSE = frozenset({errno.EISDIR, errno.ENOTDIR, errno.ELOOP})


class PosixReader:
    """An open file of a store."""

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd
        self.size_bytes = os.fstat(fd).st_size

    def fileno(self) -> int:
        """A descriptor open for reading, positioned at the beginning."""
        if self._fd is None:
            raise ValueError("the reader is closed")
        return self._fd

    def close(self) -> None:
        """Idempotent."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


class PosixStore:
    """The namespace as plain files below ``root``, and ``.librarian/`` beside it (docs/architecture.md)."""

    def __init__(
        self,
        root: str,
        marker: Marker,
        role: StoreRole,
        *,
        file_mode: int = 0o444,
        use_syncfs: bool = False,
    ) -> None:
        """Nothing is touched before :meth:`open`.

        Args:
            root: the absolute root directory.
            marker: which store must stand there.
            role: what it is for.
            file_mode: of files after commit.
            use_syncfs: one ``syncfs`` for a batch instead of an fsync for each file; for a disk of its own.
        """
        self.id = str(marker.id)
        self.label = str(marker.label)
        self.role = role
        self.root = root
        self._root = Root(root, marker)
        self._threads = Threads(f"store-{marker.label}")
        self._staging = FileStaging(self._root.staging, root, self._threads)
        self._sealer = Sealer(self._root, self._threads, file_mode=file_mode, use_syncfs=use_syncfs)
        self._placer = Placer(self._root, self._threads, self._sealer)

    @staticmethod
    def create(root: str, marker: Marker) -> None:
        """As :func:`librarian_daemon.store.layout.create`: make an empty or new directory a store."""
        layout.create(root, marker)

    @staticmethod
    def read_marker(root: str) -> Marker | None:
        """As :func:`librarian_daemon.store.layout.read_marker`: which store stands there, if any."""
        return layout.read_marker(root)

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
        """Whether the filesystem takes names that differ only in letter case for one. Known once open."""
        return self._placer.case_insensitive

    async def open(self) -> None:
        """Check marker, filesystem and rights; make what is missing in ``.librarian/``. Idempotent.

        Raises:
            StoreNotMounted: the marker is missing or is another store's.
            StoreFault: the filesystem cannot do what the commit protocol needs.
        """
        self._placer.case_insensitive = await self._threads.run(self._root.prepare)

    def close(self) -> None:
        """Give up the threads. Idempotent."""
        self._threads.close()

    async def seal(self, landings: Sequence[Landing]) -> Sequence[Landing | NotPlaced]:
        """Make the bytes durable where they stand, modes set, and a book's empty directories made.

        One outcome for each, in order. A landing whose fsync failed is discarded if it stands in staging. A book
        that is not exactly what its manifest lists (names and sizes) is not sealed.
        """
        return await self._threads.run(self._sealer.seal, landings)

    async def place(self, landings: Sequence[Landing]) -> Sequence[Placed | NotPlaced]:
        """Rename each to its name, never over anything, and make both directories durable. Idempotent.

        One outcome for each, in order. Where the same bytes stand at the name already it counts as placed, and
        what stood in staging is left there: the caller discards it once the catalog has the file.
        """
        return await self._threads.run(self._placer.place, landings)

    async def recover(self, landing: Landing) -> Placed | NotPlaced:
        """Finish a landing that a crash interrupted: read the bytes again, wherever they stand. Idempotent."""
        return await self._threads.run(self._placer.recover, landing)

    async def check(self, name: Name, digest: Digest, unit: Unit, size_bytes: int) -> Check:
        """Read the instance whole and compare; stops between chunks when cancelled.

        All that is wrong is in ``error``: ``StoreNotMounted`` or ``StoreFault`` say nothing about the bytes.
        """
        stop = threading.Event()
        try:
            return await self._threads.run_stoppable(stop, self._check, name, digest, unit, size_bytes, stop)
        except StoreError as exc:
            return Check(size_bytes=0, digest=None, error=exc)

    def _check(self, name: Name, digest: Digest, unit: Unit, size_bytes: int, stop: threading.Event) -> Check:
        with self._root.opened() as root:
            try:
                if unit is Unit.BOOK:
                    with (
                        opened(root, os.fsencode(name)) as book,
                        opened(root, manifest_path(digest), READ_FILE) as manifest,
                    ):
                        found_bytes, wrong = books.compare(book, manifest, digest, read_bytes=True, stop=stop)
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
                return Check(size_bytes=0, digest=None, error=None)  # nobody waits for it
        if found_bytes != size_bytes and (wrong is None or unit is Unit.FILE):
            wrong = SizeMismatch(f"{name!a} has {found_bytes} bytes, not {size_bytes}")
        return Check(size_bytes=found_bytes, digest=found, error=wrong)

    async def open_part(self, name: Name, digest: Digest, part: str, member: MemberPath | None) -> PosixReader:
        """Open a file, a book's manifest or a member for reading; the caller closes it.

        Raises:
            SourceMissing: it is not there, or not a regular file.
            StoreNotMounted: nothing is.
            StoreFault: it cannot be opened.
        """
        return await self._threads.run(self._open_part, name, digest, part, member)

    def _open_part(self, name: Name, digest: Digest, part: str, member: MemberPath | None) -> PosixReader:
        match part:
            case Part.FILE:
                path = os.fsencode(name)
            case Part.MANIFEST:
                path = manifest_path(digest)
            case Part.MEMBER if member is not None:
                path = os.fsencode(name) + b"/" + os.fsencode(member)
            case _:
                raise SourceMissing(f"{part!a} is no part of a file")
        with self._root.opened() as root:
            try:
                reader = PosixReader(open_beneath(root, path, READ_FILE))
            except (FileNotFoundError, NotADirectoryError) as exc:
                raise SourceMissing(f"{part} of {name!a} is not in store {self.label!r}") from exc
            except OSError as exc:
                raise store_error(exc, f"opening {name!a}", self.root) from exc
        if not _is_regular(reader.fileno()):
            reader.close()
            raise SourceMissing(f"{part} of {name!a} in store {self.label!r} is not a regular file")
        return reader

    async def manifest(self, digest: Digest) -> AsyncIterator[Sequence[Member]]:
        """The members of a stored book, in pages of at most 1000.

        Raises:
            SourceMissing: no manifest of that digest is stored.
            ManifestInvalid: what is stored is not that manifest; only after the last page.
            StoreNotMounted, StoreFault: the store does not answer.
        """
        reader = await self._threads.run(self._open_part, Name(""), digest, Part.MANIFEST, None)
        async for page in self._pages(reader, digest):
            yield page

    async def staged_manifest(self, key: str, digest: Digest) -> AsyncIterator[Sequence[Member]]:
        """The members named by a manifest that stands in staging, in pages of at most 1000.

        Raises:
            ManifestInvalid: what stands there is not that manifest; only after the last page.
            StoreNotMounted, StoreFault: the store does not answer, or nothing stands there.
        """
        reader = await self._threads.run(self._open_staged, key)
        async for page in self._pages(reader, digest):
            yield page

    def _open_staged(self, key: str) -> PosixReader:
        with self._root.staging() as staging, naming("opening a staged manifest", self.root):
            return PosixReader(open_beneath(staging, os.fsencode(key), READ_FILE))

    async def _pages(self, reader: PosixReader, digest: Digest) -> AsyncIterator[Sequence[Member]]:
        try:
            members = books.read_manifest(reader.fileno(), digest)
            while page := await self._threads.run(self._page, members):
                yield page
        finally:
            reader.close()

    def _page(self, members: Iterator[Member]) -> list[Member]:
        with naming("reading a manifest", self.root):
            return list(islice(members, PAGE_MEMBERS))

    async def set_aside(self, name: Name, digest: Digest) -> None:
        """Take the name from bytes that were found to be these. Idempotent.

        Raises:
            SourceMissing: they are not there.
            StoreError: the filesystem does not do it.
        """
        with naming(f"setting {name!a} aside", self.root):
            await self._threads.run(aside.set_aside, self._root, name, digest)

    async def is_aside(self, digest: Digest) -> bool:
        """Whether bytes stand aside under this digest.

        Raises:
            StoreError: it cannot be looked at.
        """
        with naming("looking at what is set aside", self.root):
            return await self._threads.run(aside.is_aside, self._root, digest)

    async def bring_back(self, name: Name, digest: Digest) -> None:
        """Give set-aside bytes their name back. Idempotent.

        Raises:
            SourceMissing: they are not there.
            NameOccupied: something else stands at the name.
            StoreError: the filesystem does not do it.
        """
        with naming(f"bringing {name!a} back", self.root):
            await self._threads.run(aside.bring_back, self._root, name, digest)

    async def entries(self, directory: bytes) -> AsyncIterator[Sequence[Standing]]:
        """What stands in one directory, in pages; ``b""`` is the store itself, without what it keeps for itself.

        Raises:
            StoreError: it cannot be listed.
        """
        with naming(f"listing {os.fsdecode(directory)!a}", self.root):
            pages = looking.entries(self._root, directory)
            while (page := await self._threads.run(next, pages, None)) is not None:
                yield page

    async def look(self, wanted: Sequence[Landing]) -> list[LibrarianError | None]:
        """What is wrong with what stands at each name, by kinds, names and sizes; None where nothing is.

        Raises:
            StoreError: one cannot be looked at.
        """
        return await self._threads.run(self._look, wanted)

    def _look(self, wanted: Sequence[Landing]) -> list[LibrarianError | None]:
        found: list[LibrarianError | None] = []
        for one in wanted:
            with naming(f"looking at {one.name!a}", self.root):
                found.append(looking.look(self._root, one))
        return found

    async def space(self) -> Space:
        """How full the filesystem is, for a user without privileges.

        Raises:
            StoreNotMounted, StoreFault: the store does not answer.
        """
        return await self._threads.run(self._space)

    def _space(self) -> Space:
        with self._root.opened() as root, naming("asking for free space", self.root):
            state = os.fstatvfs(root)
        return Space(
            total_bytes=state.f_blocks * state.f_frsize,
            free_bytes=state.f_bavail * state.f_frsize,
            total_inodes=state.f_files,
            free_inodes=state.f_favail,
        )

    async def discard(self, keys: Sequence[str]) -> None:
        """Remove what is staged under these keys, trees and all. Idempotent.

        Raises:
            StoreNotMounted, StoreFault: the store does not answer.
        """
        await self._threads.run(self._staging.remove, keys)

    async def has_staged(self, key: str) -> bool:
        """Whether anything stands in staging under the key, whole or not.

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
        """The top-level keys of what stands in staging.

        Raises:
            StoreNotMounted, StoreFault: the store does not answer.
        """
        return await self._threads.run(self._staged)

    def _staged(self) -> frozenset[str]:
        with self._root.staging() as staging, naming("listing staging", self.root):
            return frozenset(os.listdir(staging))

    async def books(self) -> BookFinder:
        """What the store's manifests list, to find books again. Reads all of them.

        Raises:
            StoreNotMounted, StoreFault: the store does not answer.
        """
        with naming("reading manifests", self.root):
            return await self._threads.run(BookFinder, self._root)

    async def book_candidates(self, finder: BookFinder, directory: bytes) -> Sequence[Candidate]:
        """Books that a directory may be, by what stands directly in it.

        Raises:
            StoreNotMounted, StoreFault: the store does not answer.
        """
        with naming(f"listing {os.fsdecode(directory)!a}", self.root):
            return await self._threads.run(finder.candidates, directory)

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
        """What :meth:`write_head` wrote last; None where it never did.

        Raises:
            StoreNotMounted, StoreFault: the store does not answer.
        """
        return await self._threads.run(self._read_head)

    def _read_head(self) -> str | None:
        with self._root.opened() as root, naming("reading the journal's head", self.root):
            data = layout.read_small(root, HEAD)
        return None if data is None else data.decode("utf-8", "replace")


def _is_regular(fd: int) -> bool:
    return stat.S_ISREG(os.fstat(fd).st_mode)
