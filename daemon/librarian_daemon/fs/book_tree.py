"""Books on disk: walks a book in the order of its manifest, and compares a book with its manifest.

A walk streams. It keeps in memory only the listings of the directories on its current path.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence

import msgspec

from librarian_adapters.beneath import READ_FILE, open_beneath
from librarian_daemon.fs.beneath import opened
from librarian_daemon.fs.hashing import CHUNK_BYTES, Stopped, hash_fd
from librarian_protocol.digests import Digest
from librarian_protocol.errors import (
    BookRefused,
    ChecksumMismatch,
    LibrarianError,
    ManifestInvalid,
    SizeMismatch,
    SourceMissing,
)
from librarian_protocol.manifest import ManifestReader, Member, MemberDirectory, MemberFile
from librarian_protocol.names import MemberPath

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


#: The bytes cannot be read; other errors say nothing about them.
DISK_ERRORS = frozenset({errno.EIO, errno.EUCLEAN})
#: Of a bad book so many members are named.
MOST_BAD = 1000
#: How many things in a book that are not members are named.
_EXAMPLES = 3


def kind_of(mode: int) -> str:
    """What a thing that is neither a regular file nor a directory is, in words."""
    return _KINDS.get(stat.S_IFMT(mode), "neither a file nor a directory")


class Found(msgspec.Struct, frozen=True):
    """Something met in a book: a regular file, or an *empty* directory."""

    path: bytes
    is_directory: bool


def walk(
    book: int,
    *,
    each_directory: Callable[[int], None] | None = None,
    other: Callable[[bytes], None] | None = None,
) -> Iterator[Found]:
    """Yields files and empty directories of the book open at ``book``, ordered by the raw bytes of their paths.

    ``each_directory`` gets a descriptor of every directory, the book's own included, before its content. ``other`` gets
    the path of each link, FIFO, socket or device; these are not members.

    Raises:
        BookRefused: there is such a thing and ``other`` is not given; the message names it.
        OSError: it cannot be read.
    """
    stack = [_listing(book, b"", each_directory, other)]
    while stack:
        here = stack[-1]
        if not here.names:
            stack.pop()
            continue
        name = here.names.pop()
        path = here.prefix + name
        if name.endswith(b"/"):
            stack.append(_listing(book, path[:-1], each_directory, other))
        else:
            yield Found(path, is_directory=name in here.empty)


class _Listing(msgspec.Struct):
    """One directory. Names alone: a directory may have a million of them, and sorting needs all at once."""

    prefix: bytes
    #: Greatest first, to be taken from the end. A directory that is not empty has a trailing slash, which puts it in
    #: its place.
    names: list[bytes]
    #: Those of ``names`` that are empty directories.
    empty: set[bytes]


def _listing(
    book: int,
    path: bytes,
    each_directory: Callable[[int], None] | None,
    other: Callable[[bytes], None] | None,
) -> _Listing:
    here = _Listing(prefix=path + b"/" if path else b"", names=[], empty=set())
    with opened(book, path) as fd:
        if each_directory is not None:
            each_directory(fd)
        with os.scandir(fd) as entries:
            for entry in entries:
                name = os.fsencode(entry.name)
                if entry.is_dir(follow_symlinks=False):
                    if _is_empty(fd, entry.name):
                        here.empty.add(name)
                    else:
                        name += b"/"
                elif not entry.is_file(follow_symlinks=False):
                    if other is not None:
                        other(here.prefix + name)
                        continue
                    mode = entry.stat(follow_symlinks=False).st_mode
                    raise BookRefused(
                        f"member {os.fsdecode(here.prefix + name)!a} of the book is {kind_of(mode)}",
                        hint="a book holds regular files and directories only; remove it or put its bytes there",
                    )
                here.names.append(name)
        if each_directory is not None:
            for name in sorted(here.empty):
                with opened(fd, name) as empty_fd:
                    each_directory(empty_fd)
    here.names.sort(reverse=True)
    return here


def _is_empty(parent: int, name: str) -> bool:
    with opened(parent, os.fsencode(name)) as fd, os.scandir(fd) as entries:
        return next(entries, None) is None


def read_manifest(fd: int, digest: Digest) -> Iterator[Member]:
    """Members of the manifest open at ``fd``, from its beginning, checked as it streams.

    Raises:
        ManifestInvalid: it is not a manifest, or (only after its last member) not the one of that digest.
        OSError: it cannot be read.
    """
    reader = ManifestReader()
    yield from _members(fd, reader)
    found = reader.finish()
    if found != digest:
        raise ManifestInvalid(f"the manifest is {found}, not {digest}")


def _members(fd: int, reader: ManifestReader) -> Iterator[Member]:
    os.lseek(fd, 0, os.SEEK_SET)
    while chunk := os.read(fd, CHUNK_BYTES):
        yield from reader.feed(chunk)


def compare(
    book: int,
    manifest: int,
    digest: Digest,
    *,
    read_bytes: bool,
    stop: threading.Event | None = None,
    extra: Extra | None = None,
    bad: BadMembers | None = None,
) -> tuple[int, LibrarianError | None]:
    """Compare a book with its manifest: every member must be right, and nothing else be there. Both stream, in the same
    order.

    Args:
        book: descriptor of the book's directory.
        manifest: descriptor of the manifest.
        digest: what the manifest's own digest must be.
        read_bytes: whether to read and hash the members; else only names, kinds and sizes are compared.
        stop: set to give up.
        extra: records what stands beside the members. It is then not a fault, since it does not harm any member.
        bad: records every member that is wrong; without it, the first one ends the comparison.

    Returns:
        How many bytes stand in members that are right, and the first thing that is wrong.

    Raises:
        OSError: something cannot be read.
        Stopped: ``stop`` was set.
    """
    reader = ManifestReader()
    size_bytes = 0
    first: LibrarianError | None = None
    try:
        for found, member in _beside(walk(book, other=extra.add if extra else None), _members(manifest, reader)):
            if stop is not None and stop.is_set():
                raise Stopped
            wrong = _place_of(found, member)
            if wrong is not None and extra is not None:
                if found is not None and member is None:
                    extra.add(found.path)
                    continue
                if isinstance(member, MemberDirectory) and _is_directory(book, member.path):
                    continue  # it was empty: what stands in it now is extra
            if wrong is None and isinstance(member, MemberFile):
                wrong = _member(book, member, read_bytes=read_bytes, stop=stop, unread=bad is not None)
                if wrong is None:
                    size_bytes += member.size_bytes
            if wrong is not None and (bad is None or member is None):
                return size_bytes, wrong
            if wrong is not None and bad is not None and member is not None:
                bad.add(member.path)
                first = first or wrong
        if reader.finish() != digest:
            raise ManifestInvalid(f"the book's manifest is not {digest}")
    except (BookRefused, ManifestInvalid) as exc:
        if bad is not None:
            bad.add("")  # nothing says which members are right
        return size_bytes, ChecksumMismatch(exc.message, hint=exc.hint)
    return size_bytes, first


class BadMembers(msgspec.Struct):
    """Members of a book that are wrong, in its order; "" is its manifest. Only the first of very many are kept."""

    paths: list[str] = []
    count: int = 0

    def add(self, path: str) -> None:
        """One more."""
        self.count += 1
        if len(self.paths) < MOST_BAD:
            self.paths.append(path)

    @property
    def known(self) -> Sequence[str]:
        """All of them; only the manifest, as if nothing were known, where they are too many to be kept."""
        return self.paths if self.count <= MOST_BAD else [""]


class Extra(msgspec.Struct):
    """What stands in a book and is no member of it: how many, and some of them."""

    count: int = 0
    examples: list[str] = []

    def add(self, path: bytes) -> None:
        """One more."""
        self.count += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(os.fsdecode(path))

    def add_those_of(self, book: str, other: Extra) -> None:
        """As many more as stand in that book; their paths begin with its name."""
        self.count += other.count
        self.examples += [f"{book}/{path}" for path in other.examples[: _EXAMPLES - len(self.examples)]]


def _beside(found: Iterator[Found], members: Iterator[Member]) -> Iterator[tuple[Found | None, Member | None]]:
    """Pairs of both, in their common order. What only one of them has comes with None."""
    entry, member = next(found, None), next(members, None)
    while entry is not None or member is not None:
        place = None if member is None else os.fsencode(member.path)
        if entry is not None and (place is None or entry.path < place):
            yield entry, None
            entry = next(found, None)
        elif entry is None or place is None or entry.path > place:
            yield None, member
            member = next(members, None)
        else:
            yield entry, member
            entry, member = next(found, None), next(members, None)


def _is_directory(book: int, path: MemberPath) -> bool:
    try:
        os.close(open_beneath(book, os.fsencode(path), os.O_RDONLY | os.O_DIRECTORY))
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _place_of(found: Found | None, member: Member | None) -> LibrarianError | None:
    """Whether what was found is what the manifest lists at this place of both orders."""
    if found is not None and member is None:
        return ChecksumMismatch(f"{os.fsdecode(found.path)!a} stands in the book but not in its manifest")
    if member is not None and found is None:
        return SourceMissing(f"member {member.path!a} of the book is missing")
    if found is not None and member is not None and found.is_directory == isinstance(member, MemberFile):
        return ChecksumMismatch(f"member {member.path!a} is not of the kind that the manifest says")
    return None


def _member(
    book: int,
    member: MemberFile,
    *,
    read_bytes: bool,
    stop: threading.Event | None,
    unread: bool,
) -> LibrarianError | None:
    """What is wrong with a member. ``unread``: that the disk does not give its bytes is an answer, too."""
    try:
        return _compare_member(book, member, read_bytes=read_bytes, stop=stop)
    except OSError as exc:
        if not unread or exc.errno not in DISK_ERRORS:
            raise
        return ChecksumMismatch(f"member {member.path!a} cannot be read: {exc.strerror}")


def _compare_member(
    book: int, member: MemberFile, *, read_bytes: bool, stop: threading.Event | None
) -> LibrarianError | None:
    with opened(book, os.fsencode(member.path), READ_FILE) as fd:
        size_bytes = os.fstat(fd).st_size
        if size_bytes != member.size_bytes:
            return SizeMismatch(f"member {member.path!a} has {size_bytes} bytes, not {member.size_bytes}")
        if read_bytes:
            size_bytes, digest = hash_fd(fd, stop)
            if (size_bytes, digest) != (member.size_bytes, member.digest):
                return ChecksumMismatch(f"member {member.path!a} is {digest}, not {member.digest}")
    return None


def make_empty_directories(book: int, manifest: int, digest: Digest) -> None:
    """Make the directories that the manifest lists: no adapter brings them. Idempotent.

    Raises:
        ManifestInvalid, OSError.
    """
    for member in read_manifest(manifest, digest):
        if not isinstance(member, MemberFile):
            _make_directory(book, member.path)


def _make_directory(book: int, path: MemberPath) -> None:
    done = b""
    for part in os.fsencode(path).split(b"/"):
        with opened(book, done) as fd:
            try:
                os.mkdir(part, 0o755, dir_fd=fd)
            except FileExistsError:
                os.close(open_beneath(fd, part, os.O_RDONLY | os.O_DIRECTORY))
        done = done + b"/" + part if done else part
