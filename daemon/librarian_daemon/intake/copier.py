"""Copies claimed bytes into staging, if they cannot be renamed into the store or somebody else could write to them.

Every byte is hashed again while it is copied: staging then holds exactly the bytes that were examined, or nothing.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager

import msgspec
from blake3 import blake3

from librarian_adapters.beneath import READ_FILE, open_beneath
from librarian_adapters.contract import Item, Part, Staging
from librarian_daemon.fs import book_tree
from librarian_daemon.fs.beneath import opened
from librarian_daemon.fs.hashing import CHUNK_BYTES
from librarian_daemon.fs.threads import Threads
from librarian_daemon.intake.directory.claimed import Claimed
from librarian_daemon.intake.directory.drop import Drop
from librarian_daemon.intake.directory.examination import Examined
from librarian_daemon.intake.directory.lease import StillWritten
from librarian_daemon.ports.staging_keys import list_key, manifest_key
from librarian_protocol import manifest
from librarian_protocol.digests import Digest
from librarian_protocol.errors import InputError
from librarian_protocol.manifest import MemberDirectory, MemberFile
from librarian_protocol.names import MemberPath, Name

#: Files up to here are read whole and written many at a time.
SMALL_BYTES = 1 << 20
_PUT_BYTES = 8 << 20
_NOT_SAID = Name("unnamed")
_UNKNOWN = Digest.blake3(b"")
#: Errors of a file that is gone or was replaced.
_CHANGED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.EACCES, errno.EPERM})


def file_item(landing_id: str, name: Name, found: Examined) -> Item:
    """The place in staging of a single file."""
    return Item(
        key=landing_id,
        part=Part.FILE,
        name=name,
        file_digest=found.digest,
        digest=found.digest,
        size_bytes=found.size_bytes,
    )


def manifest_item(landing_id: str) -> Item:
    """The place in staging of a book's manifest. Its digest and size are unknown until it is written."""
    return Item(
        key=manifest_key(landing_id),
        part=Part.MANIFEST,
        name=_NOT_SAID,
        file_digest=_UNKNOWN,
        digest=_UNKNOWN,
        size_bytes=(1 << 63) - 1,
    )


def list_item(landing_id: str) -> Item:
    """The place in staging of that list; likewise."""
    return msgspec.structs.replace(manifest_item(landing_id), key=list_key(landing_id), part=Part.ATTRIBUTES)


def whole_item(landing_id: str) -> Item:
    """All staging keys of a landing, for a file or a book's tree: for discarding them."""
    return Item(key=landing_id, part=Part.FILE, name=_NOT_SAID, file_digest=_UNKNOWN, digest=_UNKNOWN, size_bytes=0)


@contextmanager
def _seeing_changes() -> Generator[None]:
    """Report a change since the examination as StillWritten: the candidate is examined again from the start."""
    try:
        yield
    except InputError as exc:
        raise StillWritten(f"it changed while it was copied: {exc.message}") from exc
    except OSError as exc:
        if exc.errno not in _CHANGED:
            raise
        raise StillWritten(f"it changed while it was copied: {exc.strerror}") from exc


class Copier:
    """Copies from one drop directory into one store's staging."""

    def __init__(self, drop: Drop, staging: Staging, threads: Threads) -> None:
        self._drop = drop
        self._staging = staging
        self._threads = threads

    async def small(self, files: Sequence[tuple[Claimed, Item]]) -> list[Item | StillWritten]:
        """Copy many files of at most :data:`SMALL_BYTES` each; one outcome for each, in order.

        Raises:
            StoreError: the store or the drop directory fails.
        """
        outcomes: list[Item | StillWritten] = []
        portion: list[tuple[Claimed, Item]] = []
        size_bytes = 0
        for claimed, item in files:
            portion.append((claimed, item))
            size_bytes += item.size_bytes
            if size_bytes >= _PUT_BYTES:
                outcomes += await self._put(portion)
                portion, size_bytes = [], 0
        return outcomes + await self._put(portion)

    async def _put(self, portion: Sequence[tuple[Claimed, Item]]) -> list[Item | StillWritten]:
        read = await self._threads.run(self._read_small, portion)
        await self._staging.put([outcome for outcome in read if not isinstance(outcome, StillWritten)])
        return [outcome if isinstance(outcome, StillWritten) else outcome[0] for outcome in read]

    def _read_small(self, portion: Sequence[tuple[Claimed, Item]]) -> list[tuple[Item, bytes] | StillWritten]:
        found: list[tuple[Item, bytes] | StillWritten] = []
        with self._drop.opened("copying claimed files") as drop:
            for claimed, item in portion:
                try:
                    with _seeing_changes(), opened(drop, claimed.path, READ_FILE) as fd:
                        data = _read_up_to(fd, item.size_bytes + 1)
                except StillWritten as exc:
                    found.append(exc)
                    continue
                if Digest.blake3(data) == item.digest:
                    found.append((item, data))
                else:
                    found.append(StillWritten("it changed while it was copied"))
        return found

    async def large(self, claimed: Claimed, item: Item) -> None:
        """Copy one file of any size.

        Raises:
            StillWritten: its bytes are no longer those that were examined.
            StoreError: the store or the drop directory fails.
        """
        size_bytes, digest = await self._stream(claimed.path, item)
        if (size_bytes, digest) != (item.size_bytes, item.digest):
            raise StillWritten("it changed while it was copied")

    async def _stream(self, path: bytes, item: Item) -> tuple[int, Digest]:
        hasher = blake3()
        size_bytes = 0
        fd = await self._threads.run(self._open, path)
        try:
            sink = await self._staging.create(item)
            try:
                while data := await self._threads.run(self._read, fd, hasher):
                    await sink.write(data)
                    size_bytes += len(data)
            finally:
                await sink.close()
        finally:
            os.close(fd)
        return size_bytes, Digest(f"blake3:{hasher.hexdigest()}")

    def _open(self, path: bytes) -> int:
        with self._drop.opened("copying a claimed file") as drop, _seeing_changes():
            return open_beneath(drop, path, READ_FILE)

    def _read(self, fd: int, hasher: blake3) -> bytes:
        with self._drop.opened("copying a claimed file"), _seeing_changes():
            data = os.read(fd, CHUNK_BYTES)
        hasher.update(data)
        return data

    async def book(self, claimed: Claimed, landing_id: str, name: Name, digest: Digest, skip: bytes) -> None:
        """Copy a book's members; its empty directories are made when it is sealed.

        Raises:
            StillWritten: its bytes are no longer those that were examined.
            StoreError: the store or the drop directory fails.
        """
        text = blake3(manifest.HEADER)
        walk = self._walk(claimed, skip)
        while portion := await self._threads.run(_some, walk):
            for member in await self._members(claimed, landing_id, name, digest, portion):
                text.update(manifest.line(member))
        if Digest(f"blake3:{text.hexdigest()}") != digest:
            raise StillWritten("the book changed while it was copied")

    def _walk(self, claimed: Claimed, skip: bytes) -> Iterator[tuple[book_tree.Found, int]]:
        with self._drop.opened("copying a claimed book") as drop, _seeing_changes(), opened(drop, claimed.path) as book:
            for found in book_tree.walk(book):
                if found.path == skip and not found.is_directory:
                    continue
                size_bytes = 0
                if not found.is_directory:
                    with opened(book, found.path, READ_FILE) as fd:
                        size_bytes = os.fstat(fd).st_size
                yield found, size_bytes

    async def _members(
        self,
        claimed: Claimed,
        landing_id: str,
        name: Name,
        digest: Digest,
        portion: Sequence[tuple[book_tree.Found, int]],
    ) -> list[MemberFile | MemberDirectory]:
        members: list[MemberFile | MemberDirectory] = []
        small: list[tuple[Item, bytes]] = []
        for found, size_bytes in portion:
            with _seeing_changes():
                path = MemberPath.parse(found.path)
            if found.is_directory:
                members.append(MemberDirectory(path))
                continue
            item = Item(
                key=f"{landing_id}/{path}",
                part=Part.MEMBER,
                name=name,
                file_digest=digest,
                member=path,
                digest=digest,  # its own is known when it was read; the book's is compared at the end
                size_bytes=size_bytes,
            )
            where = claimed.path + b"/" + found.path
            if size_bytes <= SMALL_BYTES:
                data = await self._threads.run(self._read_member, where, size_bytes)
                small.append((item, data))
                members.append(MemberFile(path, len(data), Digest.blake3(data)))
            else:
                copied_bytes, copied = await self._stream(where, item)
                members.append(MemberFile(path, copied_bytes, copied))
        await self._staging.put(small)
        return members

    def _read_member(self, path: bytes, size_bytes: int) -> bytes:
        with (
            self._drop.opened("copying a claimed book") as drop,
            _seeing_changes(),
            opened(drop, path, READ_FILE) as fd,
        ):
            return _read_up_to(fd, size_bytes + 1)


def _read_up_to(fd: int, size_bytes: int) -> bytes:
    """The first bytes of a file, one more than it should have so that a longer one shows."""
    chunks: list[bytes] = []
    while size_bytes and (data := os.read(fd, size_bytes)):
        chunks.append(data)
        size_bytes -= len(data)
    return b"".join(chunks)


def _some(walk: Iterator[tuple[book_tree.Found, int]]) -> list[tuple[book_tree.Found, int]]:
    """A portion of members: at most 256, and of small ones at most one write's worth."""
    portion: list[tuple[book_tree.Found, int]] = []
    small_bytes = 0
    for found, size_bytes in walk:
        portion.append((found, size_bytes))
        if size_bytes <= SMALL_BYTES:
            small_bytes += size_bytes
        if len(portion) >= 256 or small_bytes >= _PUT_BYTES:
            break
    return portion
