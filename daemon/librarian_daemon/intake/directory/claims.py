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

from librarian_adapters.beneath import READ_FILE
from librarian_daemon.fs import book_tree
from librarian_daemon.fs.beneath import make_directories, opened, split, stat_beneath
from librarian_daemon.fs.kept import OTHERS, Kept, move
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
from librarian_daemon.intake.directory.lease import StillWritten, check_unwritten
from librarian_daemon.intake.directory.scanner import Candidate, Kind
from librarian_protocol.dropped import Reason
from librarian_protocol.errors import BookRefused


class Claimed(msgspec.Struct, frozen=True):
    """A candidate in ``.claimed/<batch>/<rel>``."""

    batch: bytes
    rel: bytes
    kind: Kind

    @property
    def path(self) -> bytes:
        """Its path below the drop directory."""
        return claimed_path(self.batch, self.rel)


class Claims(msgspec.Struct):
    """The result of claiming a batch."""

    claimed: list[Claimed]
    #: Candidates that were not claimed, and why; one that is gone has no reason.
    left: list[NotClaimed]


class NotClaimed(msgspec.Struct, frozen=True):
    """A candidate that looks complete and cannot be taken."""

    rel: bytes
    reason: Reason | None
    detail: str = ""


_LEFT = {
    errno.EACCES: Reason.NOT_PERMITTED,
    errno.EPERM: Reason.NOT_PERMITTED,
    errno.EXDEV: Reason.OTHER_FILESYSTEM,
}
#: Errors of the filesystem, not of the candidate.
_OF_THE_PLACE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
)


def claim(drop: Drop, batch: bytes, candidates: Sequence[Candidate]) -> Claims:
    """Rename each candidate into ``.claimed/<batch>/``.

    :func:`make_durable` the claims before anything is renamed out of ``.claimed``.

    Raises:
        StoreFull, NoInodes, StoreFault: the drop directory's filesystem refuses it; what is claimed already is found
            again in ``.claimed``.
    """
    result = Claims(claimed=[], left=[])
    with drop.opened("claiming") as fd, Kept(fd, OTHERS) as theirs, Kept(fd) as ours:
        made: set[bytes] = set()
        for candidate in candidates:
            target = claimed_path(batch, candidate.rel)
            parent = split(target)[0]
            if parent not in made:
                _make(fd, parent, made)
            try:
                move(theirs, candidate.rel, ours, target)
            except OSError as exc:
                if exc.errno in _OF_THE_PLACE:
                    raise
                reason = None if exc.errno in VANISHED else _LEFT.get(exc.errno or 0, Reason.CANNOT_MOVE)
                result.left.append(NotClaimed(candidate.rel, reason, exc.strerror or str(exc)))
                continue
            result.claimed.append(Claimed(batch, candidate.rel, candidate.kind))
    return result


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


def held_up(drop: Drop, candidates: Sequence[Candidate]) -> dict[bytes, NotClaimed]:
    """The candidates that cannot be taken now, by path: somebody writes to them, or we may not read them.

    Raises:
        StoreFault: the drop directory cannot be opened.
    """
    found: dict[bytes, NotClaimed] = {}
    with drop.opened("looking for writers") as fd, Kept(fd, OTHERS) as directories:
        for candidate in candidates:
            reason, detail = _hindrance(directories, candidate)
            if reason is not None:
                found[candidate.rel] = NotClaimed(candidate.rel, reason, detail)
    return found


def _hindrance(directories: Kept, candidate: Candidate) -> tuple[Reason | None, str]:
    member = b""
    parent, name = split(candidate.rel)
    try:
        if candidate.kind is Kind.FILE:
            with opened(directories.at(parent), name, READ_FILE) as file:
                check_unwritten(file)
        elif candidate.kind is Kind.BOOK:
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
