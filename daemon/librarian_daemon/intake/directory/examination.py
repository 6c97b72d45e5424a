"""Reading what is claimed, once, and seeing that nobody writes to it meanwhile. Blocking code."""

from __future__ import annotations

import errno
import os
import pwd
import stat
import threading
from collections.abc import Iterator
from functools import lru_cache

import msgspec
from blake3 import blake3

from librarian_daemon.intake.claim import Claimed
from librarian_daemon.intake.drop import Drop
from librarian_daemon.intake.lease import StillWritten, check_unwritten, unwritten
from librarian_daemon.store import books
from librarian_daemon.store.confined import READ_FILE, opened, stat_beneath
from librarian_daemon.store.reading import hash_fd
from librarian_protocol import manifest
from librarian_protocol.digests import Digest
from librarian_protocol.errors import BookRefused, InputError, NameInvalid, NotPossible
from librarian_protocol.manifest import MemberDirectory, MemberFile
from librarian_protocol.names import MemberPath

#: Manifest text handed on at once.
_TEXT_BYTES = 256 << 10
_SHARED_WRITE = stat.S_IWGRP | stat.S_IWOTH


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """What was read."""

    size_bytes: int
    digest: Digest
    mtime_ns: int
    uploader: str
    #: Whether it is ours alone: owned by the daemon, with one link. Else another could still write to it.
    ours: bool
    #: Files in a book; None for a single file.
    members: int | None = None


class Gone(Exception):
    """It is no longer there."""


@lru_cache(maxsize=1024)
def user_name(uid: int) -> str:
    """The owner's name, or the number where the system knows none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def examine_file(drop: Drop, claimed: Claimed, stop: threading.Event | None = None) -> Examined:
    """Hash a claimed single file.

    Raises:
        Gone: it vanished.
        StillWritten: somebody writes to it.
        InputError: it is not a file that we can take.
        StoreFault: it cannot be read.
    """
    with drop.opened("reading a claimed file") as fd:
        try:
            state = stat_beneath(fd, claimed.path)
            if not stat.S_ISREG(state.st_mode):
                raise _odd(state.st_mode)
            with opened(fd, claimed.path, READ_FILE) as file:
                mode = stat.S_IMODE(os.fstat(file).st_mode)
                ours = _take_over(file)
                try:
                    with unwritten(file) as state:
                        if not stat.S_ISREG(state.st_mode):
                            raise _odd(state.st_mode)
                        size_bytes, digest = hash_fd(file, stop)
                    if size_bytes != state.st_size:
                        raise StillWritten("its size changed while it was read")
                except StillWritten:
                    if ours:
                        os.fchmod(file, mode)  # it goes back to people who may have to write to it
                    raise
        except FileNotFoundError as exc:
            raise Gone from exc
        except PermissionError as exc:
            raise _unreadable() from exc
        except OSError as exc:
            if exc.errno == errno.EIO:
                raise _damaged() from exc
            raise
    return Examined(
        size_bytes=size_bytes,
        digest=digest,
        mtime_ns=state.st_mtime_ns,
        uploader=user_name(state.st_uid),
        ours=ours,
    )


def odd(drop: Drop, claimed: Claimed) -> InputError:
    """Why something that is neither a file nor a book in its place is refused.

    Raises:
        Gone: it vanished.
        StoreFault: it cannot be looked at.
    """
    with drop.opened("looking at a claimed thing") as fd:
        try:
            mode = stat_beneath(fd, claimed.path).st_mode
        except FileNotFoundError as exc:
            raise Gone from exc
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
        f"it is {books.kind_of(mode)}; only regular files are ingested", hint="drop the file that holds the bytes"
    )


def _unreadable() -> InputError:
    return NotPossible("the daemon's user may not read it", hint="make it readable for the daemon's user or group")


def _damaged() -> InputError:
    return NotPossible("reading it failed with an I/O error", hint="the disk it stands on may be failing")


def _take_over(fd: int) -> bool:
    """Whether a file is ours alone; if so nobody else may open it for writing from now on.

    Another user who has it open for reading could open it again for writing by ``/proc``, were its mode to allow.
    """
    state = os.fstat(fd)
    if state.st_uid != os.geteuid() or (stat.S_ISREG(state.st_mode) and state.st_nlink != 1):
        return False
    if state.st_mode & _SHARED_WRITE:
        os.fchmod(fd, stat.S_IMODE(state.st_mode) & ~_SHARED_WRITE)
    return True


class BookExamination:
    """Hashing a claimed book: its manifest comes out in portions, and at the end what was read."""

    def __init__(self, drop: Drop, claimed: Claimed, skip: bytes, stop: threading.Event) -> None:
        """``skip`` is a file at the top of the book that is not part of it: its marker."""
        self._drop = drop
        self._claimed = claimed
        self._skip = skip
        self._stop = stop
        self._hash = blake3()
        self._size_bytes = 0
        self._members = 0
        self._newest_ns = 0
        self._owner = 0
        self._ours = True

    def portions(self) -> Iterator[bytes]:
        """The manifest's text, a portion at a time. To be run in a thread.

        Raises:
            Gone, StillWritten, InputError, StoreFault: as :func:`examine_file`; which member is in the message.
        """
        with self._drop.opened("reading a claimed book") as fd:
            try:
                if not stat.S_ISDIR(stat_beneath(fd, self._claimed.path).st_mode):
                    raise odd(self._drop, self._claimed)
                with opened(fd, self._claimed.path) as book:
                    self._take_over(book)
                    yield from self._text(book)
            except FileNotFoundError as exc:
                raise Gone from exc
            except PermissionError as exc:
                raise _unreadable() from exc
            except OSError as exc:
                if exc.errno in {errno.ELOOP, errno.ENOTDIR, errno.ENXIO}:
                    raise StillWritten("a member was replaced while the book was read") from exc
                if exc.errno == errno.EIO:
                    raise _damaged() from exc
                raise

    def _take_over(self, book: int) -> None:
        """Before a byte is read: whether all of it is ours alone, and that nobody has any of it open."""
        state = os.fstat(book)
        self._owner, self._newest_ns = state.st_uid, state.st_mtime_ns

        def each_directory(fd: int) -> None:
            self._ours = _take_over(fd) and self._ours

        for found in books.walk(book, each_directory=each_directory):
            MemberPath.parse(found.path)
            if not found.is_directory:
                with opened(book, found.path, READ_FILE) as file:
                    self._ours = _take_over(file) and self._ours
                    check_unwritten(file)

    def _text(self, book: int) -> Iterator[bytes]:
        text = bytearray(manifest.HEADER)
        for found in books.walk(book):
            if found.path == self._skip and not found.is_directory:
                continue
            text += manifest.line(self._member(book, found))
            if len(text) >= _TEXT_BYTES:
                self._hash.update(text)
                yield bytes(text)
                text.clear()
        self._hash.update(text)
        yield bytes(text)

    def _member(self, book: int, found: books.Found) -> MemberFile | MemberDirectory:
        path = MemberPath.parse(found.path)
        if found.is_directory:
            return MemberDirectory(path)
        with opened(book, found.path, READ_FILE) as file:
            with unwritten(file) as state:
                size_bytes, digest = hash_fd(file, self._stop)
            if size_bytes != state.st_size:
                raise StillWritten("a member's size changed while it was read")
        self._members += 1
        self._size_bytes += size_bytes
        self._newest_ns = max(self._newest_ns, state.st_mtime_ns)
        return MemberFile(path, size_bytes, digest)

    def result(self) -> Examined:
        """What was read, once :meth:`portions` has ended."""
        return Examined(
            size_bytes=self._size_bytes,
            digest=Digest(f"blake3:{self._hash.hexdigest()}"),
            mtime_ns=self._newest_ns,
            uploader=user_name(self._owner),
            ours=self._ours,
            members=self._members,
        )
