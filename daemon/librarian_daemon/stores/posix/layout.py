"""A store's own files on disk (docs/architecture.md), and whether the store is mounted::

<root>/.librarian/store       the marker: JSON {id, label, site}
<root>/.librarian/head        the site's journal head, so that a restored catalog learns of it
<root>/.librarian/staging/    bytes on their way in
<root>/.librarian/manifests/  <hex of a book's digest>
<root>/.librarian/attributes/ <hex of the digest of a list of attributes>
<root>/.librarian/trash/      evicted, not yet ended
<root>/.librarian/conflict/   set aside
<root>/.librarian/withdrawn/  what an administrator withdrew: <hex of the digest>, <hex>.2, …
<root>/.librarian/bad/        what stood at a name and was not its file; named likewise
"""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Generator
from contextlib import contextmanager, suppress

import msgspec

from librarian_adapters.beneath import DIRECTORY, READ_FILE
from librarian_daemon.fs.beneath import directory, make_directories, opened, rename_noreplace, stat_beneath, write_file
from librarian_daemon.fs.os_errors import naming, store_error
from librarian_daemon.stores.posix.modes import DEFAULT, Modes
from librarian_protocol import wire
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Label, StoreId
from librarian_protocol.errors import ConfigInvalid, StoreFault, StoreNotMounted
from librarian_protocol.names import RESERVED_COMPONENT, SiteName

OURS = RESERVED_COMPONENT.encode()
MARKER = b"store"
HEAD = b"head"
STAGING = OURS + b"/staging"
MANIFESTS = OURS + b"/manifests"
ATTRIBUTES = OURS + b"/attributes"
TRASH = OURS + b"/trash"
WITHDRAWN = OURS + b"/withdrawn"
BAD = OURS + b"/bad"
_DIRECTORIES = (STAGING, MANIFESTS, ATTRIBUTES, TRASH, OURS + b"/conflict", WITHDRAWN, BAD)
#: Everybody who can read the store's files can read these, with any program.
_READ_BY_OTHERS = (OURS, MANIFESTS, ATTRIBUTES)
_MAX_SMALL_BYTES = 1 << 20
_PROBES = (b"probe", b"probe-renamed")
#: The filesystem takes no new file now.
_NO_WRITING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """Says that this directory is a store, and which."""

    id: StoreId
    label: Label
    site: SiteName


_MARKER_DECODER = wire.decoder(Marker)


def manifest_path(digest: Digest) -> bytes:
    """Path of a book's manifest below the root."""
    return MANIFESTS + b"/" + digest.hex.encode()


def list_path(digest: Digest) -> bytes:
    """Path of a list of attributes below the root."""
    return ATTRIBUTES + b"/" + digest.hex.encode()


def read_marker(root: str) -> Marker | None:
    """The marker of the store at ``root``; None if there is none, or no such directory.

    Raises:
        StoreFault: there is one, and it cannot be read.
    """
    with naming("reading the store's marker", root):
        try:
            with directory(root) as fd:
                return _read_marker(fd, root)
        except FileNotFoundError:
            return None


def _read_marker(root_fd: int, root: str) -> Marker | None:
    data = read_small(root_fd, MARKER)
    if data is None:
        return None
    try:
        return _MARKER_DECODER.decode(data)
    except wire.NOT_DECODABLE as exc:
        raise StoreFault(
            f"the marker of the store at {root} is damaged: {wire.why(exc)}",
            hint="restore .librarian/store from a backup, or have the site's catalog at hand and ask for help",
        ) from exc


def read_small(root_fd: int, name: bytes) -> bytes | None:
    """A small file of ``.librarian``, whole; None if it is missing."""
    try:
        with opened(root_fd, OURS + b"/" + name, READ_FILE) as fd:
            return os.read(fd, _MAX_SMALL_BYTES)
    except FileNotFoundError:
        return None


def marker_at(root_fd: int, root: str) -> Marker | None:
    """As :func:`read_marker`, of a root that is open. Raises OSError if it cannot be read."""
    try:
        return _read_marker(root_fd, root)
    except NotADirectoryError:
        return None


def mark(root_fd: int, marker: Marker, modes: Modes = DEFAULT) -> None:
    """Write a marker into an open root, durably, and make what is missing in ``.librarian``. Raises OSError."""
    _make_directories(root_fd, modes)
    with opened(root_fd, OURS) as ours:
        write_file(ours, MARKER, wire.encode(marker) + b"\n")
    os.fsync(root_fd)


def create(root: str, marker: Marker, modes: Modes = DEFAULT) -> None:
    """Make an empty or new directory a store: all of ``.librarian``, the marker last, durably.

    A directory that is made gets the modes of those above names. Idempotent for the same marker, also after a crash
    half-way.

    Raises:
        ConfigInvalid: the directory holds something already, or is another store.
        StoreFault, StoreFull, NoInodes: the filesystem refuses.
    """
    with naming("making a store", root):
        is_new = not os.path.isdir(root)
        os.makedirs(root, 0o755, exist_ok=True)
        with directory(root) as fd:
            if is_new:
                modes.settle_above(fd)
            found = _read_marker(fd, root)
            if found == marker:
                return
            if found is not None:
                raise ConfigInvalid(
                    f"{root} is already the store {found.label!r} ({found.id}) of site {found.site}",
                    hint="give another path, or that store's own configuration",
                )
            foreign = [name for name in os.listdir(fd) if name not in {RESERVED_COMPONENT, "lost+found"}]
            if foreign:
                raise ConfigInvalid(
                    f"{root} is to become a store but holds {foreign[0]!a}",
                    hint="give a new or empty directory, and ingest what is there through a drop directory",
                )
            mark(fd, marker, modes)


def _make_directories(root_fd: int, modes: Modes) -> None:
    for path in _DIRECTORIES:
        make_directories(root_fd, path)
    for path in _DIRECTORIES:
        if path not in _READ_BY_OTHERS:
            with opened(root_fd, path) as fd:
                os.fchmod(fd, 0o700)
    for path in _READ_BY_OTHERS:
        with opened(root_fd, path) as fd:
            modes.settle_ours(fd)


class Root:
    """The root directory of one store. It is opened for each operation, since it may be unmounted between two."""

    def __init__(self, path: str, marker: Marker, modes: Modes = DEFAULT) -> None:
        self.path = path
        self.marker = marker
        self.modes = modes
        #: Root and marker when the marker was last read correctly: devices, inodes, the marker's mtime.
        self._seen: tuple[int, int, int, int, int] | None = None
        #: Why the store is withheld: it was not there at the start. "" if it is not withheld.
        self.withheld = ""

    @contextmanager
    def opened(self) -> Generator[int]:
        """A descriptor of the root.

        Raises:
            StoreNotMounted: it is missing, or it is not this store.
            StoreFault: it cannot be opened.
        """
        try:
            fd = os.open(self.path, DIRECTORY & ~os.O_NOFOLLOW)
        except OSError as exc:
            if exc.errno in {errno.ENOENT, errno.ENOTDIR}:
                raise self._not_mounted("the directory is missing") from exc
            raise store_error(exc, "opening the store", self.path) from exc
        try:
            self._check(fd)
            if self.withheld:
                raise self._not_mounted(self.withheld)
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def staging(self) -> Generator[int]:
        """A descriptor of the staging area; raises as :meth:`opened`."""
        with self.opened() as root:
            try:
                fd = os.open(STAGING, DIRECTORY, dir_fd=root)
            except FileNotFoundError as exc:
                self._seen = None
                raise self._not_mounted("its .librarian/staging is missing") from exc
            except OSError as exc:
                raise store_error(exc, "opening staging", self.path) from exc
            try:
                yield fd
            finally:
                os.close(fd)

    def _check(self, fd: int) -> None:
        """The marker is checked each time: everything below the root may be moved away while the root stays."""
        try:
            marker = stat_beneath(fd, OURS + b"/" + MARKER)
        except (FileNotFoundError, NotADirectoryError) as exc:
            self._seen = None
            raise self._unmarked() from exc
        except OSError as exc:
            raise store_error(exc, "looking at the store's marker", self.path) from exc
        state = os.fstat(fd)
        seen = (state.st_dev, state.st_ino, marker.st_dev, marker.st_ino, marker.st_mtime_ns)
        if seen == self._seen:
            return
        with naming("reading the store's marker", self.path):
            found = _read_marker(fd, self.path)
        if found is None:
            raise self._unmarked()
        if found.id != self.marker.id:
            raise self._not_mounted(f"another store stands there: {found.label!r} ({found.id})")
        self._seen = seen

    def _unmarked(self) -> StoreNotMounted:
        error = self._not_mounted("its marker .librarian/store is missing")
        error.hint += (
            f". If it is mounted and its marker was deleted: `lbctl store mark {shlex.quote(self.path)} --store"
            f" {self.marker.id}`"
        )
        return error

    def _not_mounted(self, why: str) -> StoreNotMounted:
        return StoreNotMounted(
            f"store {self.marker.label!r} is not mounted at {self.path}: {why}",
            hint="mount it; work continues by itself, and no file counts as lost meanwhile",
        )

    def prepare(self) -> bool:
        """Make what is missing in ``.librarian``, and test the filesystem's abilities.

        A store that is full or read-only opens too: its files can be served.

        Returns:
            Whether names that differ only in letter case are one file there.

        Raises:
            StoreNotMounted: as :meth:`opened`.
            StoreFault: it cannot do what the commit protocol needs.
        """
        with self.opened() as root, naming("preparing the store", self.path):
            try:
                _make_directories(root, self.modes)
            except OSError as exc:
                if exc.errno not in _NO_WRITING:
                    raise
            with opened(root, STAGING) as staging:
                if os.fstat(staging).st_dev != os.fstat(root).st_dev:
                    raise StoreFault(
                        f"staging of {self.path} stands on another filesystem than the store",
                        hint="a store's .librarian must be on its own filesystem: files are renamed out of it",
                    )
                self._check_noreplace(staging)
            return read_small(root, MARKER.upper()) is not None

    def _check_noreplace(self, staging: int) -> None:
        before, after = _PROBES
        try:
            os.close(os.open(before, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, 0o600, dir_fd=staging))
            with suppress(FileExistsError):
                rename_noreplace(staging, before, staging, after)
        except OSError as exc:
            if exc.errno in _NO_WRITING:
                return  # a rename will fail with the reason
            if exc.errno not in {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}:
                raise
            raise StoreFault(
                f"the filesystem of {self.path} cannot rename without overwriting (renameat2 NOREPLACE)",
                hint="use a local filesystem, or a network one that has it",
            ) from exc
        finally:
            for name in _PROBES:
                with suppress(OSError):
                    os.unlink(name, dir_fd=staging)


def staging_root(store_root: str) -> str:
    """The directory that :attr:`librarian_daemon.ports.store.Landing.root` has for staged bytes."""
    return os.path.join(store_root, os.fsdecode(STAGING))
