"""Reads claimed files once, and checks that nobody writes to them meanwhile. Blocking code."""

from __future__ import annotations

import errno
import os
import pwd
import stat
import threading
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import msgspec
from blake3 import blake3

from librarian_adapters.beneath import READ_FILE
from librarian_daemon.fs import book_tree
from librarian_daemon.fs.beneath import opened, split, stat_beneath
from librarian_daemon.fs.hashing import hash_fd
from librarian_daemon.fs.kept import Kept
from librarian_daemon.intake.directory.claimed import Claimed
from librarian_daemon.intake.directory.drop import Drop
from librarian_daemon.intake.directory.lease import (
    NotReadable,
    ReadLease,
    StillWritten,
    check_unchanged,
    check_unwritten,
    unwritten,
)
from librarian_protocol import attributes, manifest
from librarian_protocol.attributes import Attributes, OfMember, bounded, is_executable
from librarian_protocol.digests import Digest
from librarian_protocol.entries import MAX_SIZE_BYTES
from librarian_protocol.errors import BookRefused, InputError, NameInvalid, NotPossible
from librarian_protocol.manifest import MemberDirectory, MemberFile
from librarian_protocol.names import MemberPath

#: Bytes of manifest text in one portion.
_TEXT_BYTES = 256 << 10
#: A file up to that size is read by one call.
_ONE_READ_BYTES = 64 << 10
_SHARED_WRITE = stat.S_IWGRP | stat.S_IWOTH


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """The result of reading a claimed file or book."""

    size_bytes: int
    digest: Digest
    mtime_ns: int
    uploader: str
    #: Whether it is ours alone: owned by the daemon, with one link. Otherwise somebody else could still write to it.
    ours: bool
    #: Files in a book; None for a single file.
    members: int | None = None
    #: Its attributes.
    attributes: Attributes = Attributes()


class Gone(Exception):
    """The claimed file vanished."""


@lru_cache(maxsize=1024)
def user_name(uid: int) -> str:
    """The owner's name, or the number if the system knows no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


#: What became of reading one claimed file.
Read = Examined | InputError | StillWritten | Gone


def examine_files(drop: Drop, files: Sequence[Claimed], stop: threading.Event | None = None) -> list[Read]:
    """Hash claimed single files; one result for each, in order.

    Raises:
        StoreFault: one cannot be read.
    """
    found: list[Read] = []
    with drop.opened("reading claimed files") as fd, Kept(fd) as directories:
        for claimed in files:
            try:
                found.append(_examine_file(directories, claimed, stop))
            except (InputError, StillWritten, Gone) as exc:
                found.append(exc)
    return found


def _examine_file(directories: Kept, claimed: Claimed, stop: threading.Event | None) -> Examined:
    parent, name = split(claimed.path)
    try:
        here = directories.at(parent)
        state = os.stat(name, dir_fd=here, follow_symlinks=False)
        if not stat.S_ISREG(state.st_mode):
            raise _odd(state.st_mode)
        with opened(here, name, READ_FILE) as file:
            return _examine_open(file, os.fstat(file), None, stop)
    except FileNotFoundError as exc:
        raise Gone from exc
    except PermissionError as exc:
        raise NotReadable("the daemon's user may not read it") from exc


def examine_open(file: int, state: os.stat_result, lease: ReadLease) -> Read:
    """Hash a small file that is open at its start; ``lease`` was taken on it, then it was claimed, and has that state.

    Raises:
        OSError: it cannot be read.
    """
    try:
        return _examine_open(file, state, lease, None)
    except (InputError, StillWritten) as exc:
        return exc


def _examine_open(file: int, state: os.stat_result, lease: ReadLease | None, stop: threading.Event | None) -> Examined:
    if not stat.S_ISREG(state.st_mode):
        raise _odd(state.st_mode)
    mode = stat.S_IMODE(state.st_mode)
    ours = _take_over(file, state)
    try:
        if lease is None:
            lease = ReadLease(file)
        before = os.fstat(file) if mode & _SHARED_WRITE else state
        _check_size(before.st_size)
        if before.st_size <= _ONE_READ_BYTES:
            size_bytes, digest = _hash_at_once(file, before.st_size)
        else:
            size_bytes, digest = hash_fd(file, stop, expected_bytes=before.st_size)
        lease.check()
        check_unchanged(file, before)
        if size_bytes != before.st_size:
            raise StillWritten("its size changed while it was read")
    except StillWritten:
        if ours:
            os.fchmod(file, mode)  # it goes back to its writer, who may have to write to it
        raise
    except OSError as exc:
        if exc.errno == errno.EIO:
            raise _damaged() from exc
        raise
    return Examined(
        size_bytes=size_bytes,
        digest=digest,
        mtime_ns=before.st_mtime_ns,
        uploader=user_name(before.st_uid),
        ours=ours,
        attributes=Attributes(mtime_ns=bounded(before.st_mtime_ns), executable=is_executable(before.st_mode)),
    )


def _hash_at_once(file: int, size_bytes: int) -> tuple[int, Digest]:
    """As :func:`hash_fd`; whether there is more shows by the size afterwards."""
    data = os.read(file, size_bytes + 1)
    return len(data), Digest.blake3(data)


def odd(drop: Drop, claimed: Claimed, unit: str) -> InputError:
    """Why an entry that is neither a file nor a book in its place is refused.

    Raises:
        Gone: it vanished.
        StillWritten: it was replaced meanwhile by an allowed entry.
        StoreFault: it cannot be looked at.
    """
    with drop.opened("looking at a claimed file") as fd:
        try:
            mode = stat_beneath(fd, claimed.path).st_mode
        except FileNotFoundError as exc:
            raise Gone from exc
    if stat.S_ISREG(mode) and unit == "file":
        raise StillWritten("it was replaced by something else")
    if stat.S_ISREG(mode):
        return BookRefused(
            "it is a single file where only books (directories) are ingested",
            hint="put it into a book, or into a drop directory for single files",
        )
    if stat.S_ISDIR(mode):
        return NameInvalid("the directory's path is too long for any name below it", hint="use shorter names")
    return _odd(mode)


def _odd(mode: int) -> InputError:
    return NotPossible(
        f"it is {book_tree.kind_of(mode)}; only regular files are ingested", hint="drop the file that holds the bytes"
    )


def _check_size(size_bytes: int) -> None:
    """Check the size before reading: a sparse file can claim more bytes than can be read."""
    if size_bytes > MAX_SIZE_BYTES:
        raise NotPossible(
            f"it has {size_bytes} bytes; a file or book has at most {MAX_SIZE_BYTES}", hint="split it; is it sparse?"
        )


def _damaged() -> InputError:
    return NotPossible("reading it failed with an I/O error", hint="its disk may be failing")


def _take_over(fd: int, state: os.stat_result) -> bool:
    """Whether a file is ours alone; if so nobody else may open it for writing from now on.

    Another user who has it open for reading could open it for writing through ``/proc`` if its mode allowed that.
    """
    if state.st_uid != os.geteuid() or (stat.S_ISREG(state.st_mode) and state.st_nlink != 1):
        return False
    if state.st_mode & _SHARED_WRITE:
        os.fchmod(fd, stat.S_IMODE(state.st_mode) & ~_SHARED_WRITE)
    return True


class Portion(NamedTuple):
    """A portion of a book's manifest text, and of the list of its members' attributes."""

    manifest: bytes
    attributes: bytes


class BookExamination:
    """Hashes a claimed book. Yields its manifest and its list in portions, and at the end the result."""

    def __init__(self, drop: Drop, claimed: Claimed, skip: bytes, stop: threading.Event) -> None:
        """``skip`` is a file at the top of the book that is not part of it: its marker."""
        self._drop = drop
        self._claimed = claimed
        self._skip = skip
        self._stop = stop
        self._hash = blake3()
        self._list_hash = blake3()
        self._list = bytearray(attributes.HEADER)
        self._size_bytes = 0
        self._members = 0
        self._newest_ns = 0
        self._owner = 0
        self._ours = True

    def portions(self) -> Iterator[Portion]:
        """Both texts, a portion at a time. Run it in a thread.

        Raises:
            Gone: it vanished.
            StillWritten: somebody writes to a member, or we may not read it; which one is in the message.
            InputError: it is not a book that we can take.
            StoreFault: it cannot be read.
        """
        with self._drop.opened("reading a claimed book") as fd:
            try:
                if not stat.S_ISDIR(stat_beneath(fd, self._claimed.path).st_mode):
                    raise odd(self._drop, self._claimed, "book")
                with opened(fd, self._claimed.path) as book:
                    self._take_over(book)
                    yield from self._text(book)
            except FileNotFoundError as exc:
                raise Gone from exc
            except PermissionError as exc:
                raise NotReadable("the daemon's user may not read all of it") from exc
            except OSError as exc:
                if exc.errno in {errno.ELOOP, errno.ENOTDIR, errno.ENXIO}:
                    raise StillWritten("a member was replaced while the book was read") from exc
                if exc.errno == errno.EIO:
                    raise _damaged() from exc
                raise

    def _take_over(self, book: int) -> None:
        """Check before reading: whether the whole book is ours alone, and that nobody has a member open."""
        state = os.fstat(book)
        self._owner, self._newest_ns = state.st_uid, state.st_mtime_ns

        def each_directory(fd: int) -> None:
            self._ours = _take_over(fd, os.fstat(fd)) and self._ours

        for found in book_tree.walk(book, each_directory=each_directory):
            MemberPath.parse(found.path)
            if not found.is_directory:
                with opened(book, found.path, READ_FILE) as file:
                    self._ours = _take_over(file, os.fstat(file)) and self._ours
                    check_unwritten(file)

    def _text(self, book: int) -> Iterator[Portion]:
        text = bytearray(manifest.HEADER)
        for found in book_tree.walk(book):
            if found.path == self._skip and not found.is_directory:
                continue
            text += manifest.line(self._member(book, found))
            if len(text) >= _TEXT_BYTES:
                yield self._portion(text)
        yield self._portion(text)

    def _portion(self, text: bytearray) -> Portion:
        portion = Portion(bytes(text), bytes(self._list))
        self._hash.update(portion.manifest)
        self._list_hash.update(portion.attributes)
        text.clear()
        self._list.clear()
        return portion

    def _member(self, book: int, found: book_tree.Found) -> MemberFile | MemberDirectory:
        path = MemberPath.parse(found.path)
        if found.is_directory:
            return MemberDirectory(path)
        with opened(book, found.path, READ_FILE) as file:
            with unwritten(file) as state:
                _check_size(self._size_bytes + state.st_size)
                size_bytes, digest = hash_fd(file, self._stop)
            if size_bytes != state.st_size:
                raise StillWritten("a member's size changed while it was read")
        self._members += 1
        self._size_bytes += size_bytes
        self._newest_ns = max(self._newest_ns, state.st_mtime_ns)
        self._list += attributes.line(OfMember(bounded(state.st_mtime_ns), is_executable(state.st_mode)))
        return MemberFile(path, size_bytes, digest)

    def result(self) -> Examined:
        """The result, once :meth:`portions` has ended."""
        return Examined(
            size_bytes=self._size_bytes,
            digest=Digest(f"blake3:{self._hash.hexdigest()}"),
            mtime_ns=self._newest_ns,
            uploader=user_name(self._owner),
            ours=self._ours,
            members=self._members,
            attributes=Attributes(
                mtime_ns=bounded(self._newest_ns), list=Digest(f"blake3:{self._list_hash.hexdigest()}")
            ),
        )
