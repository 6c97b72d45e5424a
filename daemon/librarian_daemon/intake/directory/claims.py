"""Claims candidates, so that nobody else changes them, and puts back those still being written. Blocking code.

A claim keeps the path: after a crash, the content of ``.claimed/<batch>/`` alone says what to do.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress

import msgspec

from librarian_adapters.beneath import READ_FILE, open_beneath
from librarian_daemon.fs import book_tree
from librarian_daemon.fs.beneath import make_directories, opened, split, stat_beneath
from librarian_daemon.fs.kept import OTHERS, Kept, move
from librarian_daemon.intake.directory.claimed import Claimed
from librarian_daemon.intake.directory.drop import (
    CLAIMED,
    VANISHED,
    Drop,
    claimed_path,
    fsync_directories,
    parents,
    remove_empty,
    shown,
)
from librarian_daemon.intake.directory.examination import Gone, Read, examine_open
from librarian_daemon.intake.directory.lease import ReadLease, StillWritten, check_unwritten
from librarian_daemon.intake.directory.scanner import Candidate, Kind
from librarian_protocol.dropped import Reason
from librarian_protocol.errors import BookRefused


class Replaced(Exception):
    """Another directory stands at the drop directory's path: nothing was claimed."""


class Claims(msgspec.Struct):
    """The result of claiming a batch."""

    claimed: list[Claimed]
    #: Small files that were read already, by path.
    read: dict[bytes, Read]
    #: Candidates that were not claimed, and why; one that is gone has no reason.
    left: list[NotClaimed]


class NotClaimed(msgspec.Struct, frozen=True):
    """A candidate that looks complete and cannot be taken."""

    rel: bytes
    reason: Reason | None
    detail: str = ""
    #: It was looked at, and only cannot be taken now.
    complete: bool = False


#: Larger files are read when all are claimed: claiming a batch takes no longer than reading 1,000 of these.
READ_AT_ONCE_BYTES = 1 << 20
_LEFT = {
    errno.EACCES: Reason.NOT_PERMITTED,
    errno.EPERM: Reason.NOT_PERMITTED,
    errno.EXDEV: Reason.OTHER_FILESYSTEM,
}
#: Errors of the filesystem, not of the candidate.
_OF_THE_PLACE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
)


def claim(drop: Drop, identity: tuple[int, int], batch: bytes, candidates: Sequence[Candidate]) -> Claims:
    """Rename each candidate that nobody writes to into ``.claimed/<batch>/``, and read small files.

    They are opened once: before the rename, to look for writers. :func:`make_durable` the claims before anything is
    renamed out of ``.claimed``.

    Args:
        drop: where.
        identity: device and inode of the directory that was prepared for claims.
        batch: its name, which no other has.
        candidates: what is complete.

    Raises:
        Replaced: it is another directory by now.
        StoreFull, NoInodes, StoreFault: the drop directory's filesystem refuses it; what is claimed already is found
            again in ``.claimed``.
    """
    result = Claims(claimed=[], read={}, left=[])
    with drop.opened("claiming") as fd, Kept(fd, OTHERS) as theirs, Kept(fd) as ours:
        here = os.fstat(fd)
        if (here.st_dev, here.st_ino) != identity:
            raise Replaced
        claiming = _Claiming(batch, fd, theirs, ours, result)
        for candidate in candidates:
            claiming.take(candidate)
    return result


class _Claiming:
    """What one call of :func:`claim` keeps."""

    def __init__(self, batch: bytes, drop: int, theirs: Kept, ours: Kept, result: Claims) -> None:
        self._batch = batch
        self._drop = drop
        self._theirs = theirs
        self._ours = ours
        self._made: set[bytes] = set()
        self._result = result

    def take(self, candidate: Candidate) -> None:
        """Claim it, or note why not."""
        if candidate.kind is Kind.FILE:
            self._take_file(candidate)
            return
        reason, detail = _hindrance(self._theirs, candidate)
        if reason is None:
            self._move(candidate)
        else:
            self._result.left.append(NotClaimed(candidate.rel, reason, detail))

    def _take_file(self, candidate: Candidate) -> None:
        parent, name = split(candidate.rel)
        try:
            file = open_beneath(self._theirs.at(parent), name, READ_FILE)
        except PermissionError as exc:
            self._result.left.append(NotClaimed(candidate.rel, Reason.NOT_READABLE, exc.strerror or ""))
            return
        except OSError:
            self._move(candidate)  # it is claimed, then looked at again where nobody can change it
            return
        try:
            try:
                lease = ReadLease(file)
            except StillWritten:
                self._result.left.append(NotClaimed(candidate.rel, Reason.STILL_WRITTEN))
                return
            except OSError:
                self._move(candidate)
                return
            claimed = self._move(candidate)
            if claimed is not None and candidate.size_bytes <= READ_AT_ONCE_BYTES:
                self._read(claimed, file, lease)
        finally:
            os.close(file)

    def _move(self, candidate: Candidate) -> Claimed | None:
        claimed = Claimed(self._batch, candidate.rel, candidate.kind)
        target = claimed.path
        parent = split(target)[0]
        if parent not in self._made:
            _make(self._drop, parent, self._made)
        try:
            move(self._theirs, candidate.rel, self._ours, target)
        except OSError as exc:
            if exc.errno in _OF_THE_PLACE:
                raise
            reason = None if exc.errno in VANISHED else _LEFT.get(exc.errno or 0, Reason.CANNOT_MOVE)
            self._result.left.append(NotClaimed(candidate.rel, reason, exc.strerror or str(exc), complete=True))
            return None
        self._result.claimed.append(claimed)
        return claimed

    def _read(self, claimed: Claimed, file: int, lease: ReadLease) -> None:
        """Read it, unless what was opened is not what was renamed, or is larger by now."""
        parent, name = split(claimed.path)
        try:
            there = os.stat(name, dir_fd=self._ours.at(parent), follow_symlinks=False)
        except FileNotFoundError:
            self._result.read[claimed.rel] = Gone()
            return
        here = os.fstat(file)
        if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino) and here.st_size <= READ_AT_ONCE_BYTES:
            self._result.read[claimed.rel] = examine_open(file, here, lease)


def make_durable(drop: Drop, claimed: Sequence[Claimed]) -> None:
    """Make claims durable, at both ends: a later rename out of ``.claimed`` is worth nothing if they are not.

    Raises:
        StoreFault: the drop directory's filesystem fails.
    """
    entered = {directory for item in claimed for directory in parents(item.path)}
    left = {split(item.rel)[0] for item in claimed}
    with drop.opened("making claims durable") as fd:
        fsync_directories(fd, [*sorted(entered), *sorted(left)])


def _make(drop: int, path: bytes, made: set[bytes]) -> None:
    for directory in [*reversed(parents(path)), path]:
        if directory not in made:
            parent, name = split(directory)
            with opened(drop, parent) as fd, suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=fd)
            made.add(directory)


def put_back(drop: Drop, claimed: Claimed) -> bool:
    """Return it to where it was. False: its place is occupied, or this is not permitted; then it stays claimed.

    Raises:
        StoreFull, NoInodes, StoreFault: the drop directory's filesystem does not take it.
    """
    parent = split(claimed.rel)[0]
    with drop.opened("putting back what is not to be taken yet") as fd, Kept(fd) as ours, Kept(fd) as theirs:
        try:
            make_directories(fd, parent, 0o777)
            move(ours, claimed.path, theirs, claimed.rel)
        except FileExistsError:
            return False
        except FileNotFoundError:
            return True  # somebody removed it from .claimed
        except OSError as exc:
            if exc.errno in {errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM}:
                return False
            raise
        fsync_directories(fd, [parent, split(claimed.path)[0]])
    return True


def _hindrance(directories: Kept, candidate: Candidate) -> tuple[Reason | None, str]:
    """Why a book cannot be taken now: somebody writes to a member, or we may not read it."""
    member = b""
    parent, name = split(candidate.rel)
    try:
        if candidate.kind is Kind.BOOK:
            with opened(directories.at(parent), name) as book:
                for found in book_tree.walk(book):
                    member = found.path
                    if not found.is_directory:
                        with opened(book, member, READ_FILE) as file:
                            check_unwritten(file)
    except StillWritten:
        return Reason.STILL_WRITTEN, shown(member)
    except PermissionError as exc:
        return Reason.NOT_READABLE, f"{shown(member)}: {exc.strerror}" if member else exc.strerror or ""
    except (OSError, BookRefused):
        pass  # it is claimed, then looked at again where nobody can change it
    return None, ""


def batches(drop: Drop) -> Iterator[bytes]:
    """The batches in ``.claimed``; directories only, in no order.

    Raises:
        StoreFault: it cannot be read.
    """
    with drop.opened("reading .claimed") as fd, opened(fd, CLAIMED) as claimed, os.scandir(claimed) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield os.fsencode(entry.name)


def remove(drop: Drop, claimed: Claimed) -> bool:
    """Remove a claimed candidate whose bytes are in the store. Idempotent.

    Returns:
        False if it is not permitted: in a book there are directories that only their owner may change.

    Raises:
        StoreFault: the drop directory's filesystem fails.
    """
    parent, name = split(claimed.path)
    with drop.opened("removing what is stored") as fd, suppress(FileNotFoundError), opened(fd, parent) as here:
        try:
            if stat.S_ISDIR(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode):
                shutil.rmtree(name, dir_fd=here)
            else:
                os.unlink(name, dir_fd=here)
        except PermissionError:
            return False
    return True


def remove_member(drop: Drop, claimed: Claimed, member: bytes) -> None:
    """Remove one file at the top of a claimed book: its marker. Idempotent.

    Raises:
        StoreFault: it cannot be removed.
    """
    with (
        drop.opened("removing a book's marker") as fd,
        suppress(FileNotFoundError),
        opened(fd, claimed.path) as book,
    ):
        os.unlink(member, dir_fd=book)


def is_claimed(drop: int, claimed: Claimed) -> bool:
    """Whether it is still there."""
    try:
        stat_beneath(drop, claimed.path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def tidy(drop: Drop, batch: bytes) -> bool:
    """Remove the empty directories of a batch, the batch's own last; says whether nothing is left of it.

    Raises:
        StoreFault: ``.claimed`` cannot be read.
    """
    with drop.opened("tidying .claimed") as fd:
        found: list[bytes] = []
        pending = [claimed_path(batch)]
        while pending:
            path = pending.pop()
            found.append(path)
            # A directory that we may not read counts as not empty.
            absent = suppress(FileNotFoundError, PermissionError)
            with absent, opened(fd, path) as here, os.scandir(here) as entries:
                for entry in entries:
                    if not entry.is_dir(follow_symlinks=False):
                        break  # something is still claimed here: it stays, and so do its parents
                    pending.append(path + b"/" + os.fsencode(entry.name))
        for path in sorted(found, key=len, reverse=True):
            remove_empty(fd, path)
        return not is_claimed(fd, Claimed(batch, b"", Kind.ODD))
