"""Parts of stored instances: opened, or small ones read whole, many in one call."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from librarian_adapters.beneath import READ_FILE, open_beneath
from librarian_adapters.contract import Part
from librarian_adapters.threads import in_thread
from librarian_daemon.fs.beneath import split
from librarian_daemon.fs.kept import Kept
from librarian_daemon.fs.os_errors import store_error
from librarian_daemon.ports.store import PartRead, TooLarge, WantedPart
from librarian_daemon.stores.posix.layout import Root, list_path, manifest_path
from librarian_protocol.digests import Digest
from librarian_protocol.errors import SourceMissing, StoreError, StoreFault
from librarian_protocol.names import MemberPath, Name


class PosixReader:
    """Implements :class:`librarian_daemon.ports.store.Reader` by a descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd
        self.size_bytes = os.fstat(fd).st_size

    def fileno(self) -> int:
        """A descriptor open for reading, positioned at the beginning."""
        if self._fd is None:
            raise ValueError("the reader is closed")
        return self._fd

    async def read(self, begin: int, size_bytes: int) -> bytes:
        """That many bytes from ``begin``; fewer only at its end.

        Raises:
            StoreFault: they cannot be read.
        """
        try:
            return await in_thread(os.pread, self.fileno(), size_bytes, begin)
        except OSError as exc:
            raise StoreFault(exc.strerror or str(exc)) from exc

    def close(self) -> None:
        """Idempotent."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


class Parts:
    """Those of one store. Blocking code."""

    def __init__(self, root: Root) -> None:
        self._root = root

    def open(self, name: Name, digest: Digest, part: str, member: MemberPath | None) -> PosixReader:
        """As :meth:`librarian_daemon.ports.store.Store.open_part`."""
        path = _path(name, digest, part, member)
        with self._root.opened() as root:
            try:
                reader = PosixReader(open_beneath(root, path, READ_FILE))
            except OSError as exc:
                raise self._not_opened(exc, name, part) from exc
        if not stat.S_ISREG(os.fstat(reader.fileno()).st_mode):
            reader.close()
            raise self._not_regular(name, part)
        return reader

    def read(self, wanted: Sequence[WantedPart]) -> list[PartRead]:
        """As :meth:`librarian_daemon.ports.store.Store.read_parts`. The root and directories are opened once."""
        try:
            with self._root.opened() as root, Kept(root) as directories:
                return [self._read(directories, part) for part in wanted]
        except StoreError as exc:
            return [exc] * len(wanted)

    def _read(self, directories: Kept, wanted: WantedPart) -> PartRead:
        name, part = wanted.name, wanted.part
        try:
            parent, last = split(_path(name, wanted.digest, part, wanted.member))
            fd = os.open(last, READ_FILE, dir_fd=directories.at(parent))
        except SourceMissing as exc:
            return exc
        except OSError as exc:
            return self._not_opened(exc, name, part)
        try:
            state = os.fstat(fd)
            if not stat.S_ISREG(state.st_mode):
                return self._not_regular(name, part)
            if state.st_size > wanted.most_bytes:
                return TooLarge(state.st_size)
            data = os.pread(fd, state.st_size, 0)
        except OSError as exc:
            return store_error(exc, f"reading {name!a}", self._root.path)
        finally:
            os.close(fd)
        if len(data) < state.st_size:
            return StoreFault(f"{part} of {name!a} ends at {len(data)} bytes, not at {state.st_size}")
        return data

    def _not_opened(self, exc: OSError, name: Name, part: str) -> SourceMissing | StoreError:
        if isinstance(exc, FileNotFoundError | NotADirectoryError):
            return SourceMissing(f"{part} of {name!a} is not in store {self._root.marker.label!r}")
        return store_error(exc, f"opening {name!a}", self._root.path)

    def _not_regular(self, name: Name, part: str) -> SourceMissing:
        return SourceMissing(f"{part} of {name!a} in store {self._root.marker.label!r} is not a regular file")


def _path(name: Name, digest: Digest, part: str, member: MemberPath | None) -> bytes:
    """Below the root. Raises SourceMissing: there is no such part."""
    match part:
        case Part.FILE:
            return os.fsencode(name)
        case Part.MANIFEST:
            return manifest_path(digest)
        case Part.ATTRIBUTES:
            return list_path(digest)
        case Part.MEMBER if member is not None:
            return os.fsencode(name) + b"/" + os.fsencode(member)
        case _:
            raise SourceMissing(f"{part!a} is no part of a file")
