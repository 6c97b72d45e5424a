"""Taking things out of people's reach, and giving back what they are still writing. Blocking code.

A claim keeps the path: what stands below ``.claimed/<batch>/`` alone says what is to be done after a crash.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress

import msgspec

from librarian_daemon.intake.drop import (
    CLAIMED,
    Drop,
    claimed_path,
    fsync_directories,
    parents,
    remove_empty,
)
from librarian_daemon.intake.lease import StillWritten, check_unwritten
from librarian_daemon.intake.scan import Candidate, Kind
from librarian_daemon.store import books
from librarian_daemon.store.confined import (
    READ_FILE,
    make_directories,
    move,
    opened,
    split,
    stat_beneath,
)
from librarian_protocol.errors import BookRefused


class Claimed(msgspec.Struct, frozen=True):
    """A candidate that stands in ``.claimed/<batch>/<rel>``."""

    batch: bytes
    rel: bytes
    kind: Kind

    @property
    def path(self) -> bytes:
        """Where it stands, below the drop directory."""
        return claimed_path(self.batch, self.rel)


class Claims(msgspec.Struct):
    """What came of claiming a batch."""

    claimed: list[Claimed]
    #: Not claimed, and why: ``gone``, ``not-permitted``, ``other-filesystem``.
    left: list[tuple[bytes, str]]


_LEFT = {
    errno.ENOENT: "gone",
    errno.ENOTDIR: "gone",
    errno.ELOOP: "gone",
    errno.EACCES: "not-permitted",
    errno.EPERM: "not-permitted",
    errno.EXDEV: "other-filesystem",
}


def claim(drop: Drop, batch: bytes, candidates: Sequence[Candidate]) -> Claims:
    """Rename each candidate into ``.claimed/<batch>/`` and make that durable.

    Raises:
        StoreFull, NoInodes, StoreFault: the drop directory's filesystem does not take it; what was claimed until
            then is found again in ``.claimed``.
    """
    result = Claims(claimed=[], left=[])
    with drop.opened("claiming") as fd:
        made: set[bytes] = set()
        left_parents: set[bytes] = set()
        for candidate in candidates:
            target = claimed_path(batch, candidate.rel)
            parent = split(target)[0]
            if parent not in made:
                _make(fd, parent, made)
            try:
                move(fd, candidate.rel, fd, target)
            except OSError as exc:
                if exc.errno not in _LEFT:
                    raise
                result.left.append((candidate.rel, _LEFT[exc.errno]))
                continue
            left_parents.add(split(candidate.rel)[0])
            result.claimed.append(Claimed(batch, candidate.rel, candidate.kind))
        # Both ends: a later rename out of .claimed is worth nothing if this one is not durable.
        fsync_directories(fd, [*sorted(made), *sorted(left_parents)])
    return result


def _make(drop: int, path: bytes, made: set[bytes]) -> None:
    for directory in [*reversed(parents(path)), path]:
        if directory not in made:
            parent, name = split(directory)
            with opened(drop, parent) as fd, suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=fd)
            made.add(directory)


def put_back(drop: Drop, claimed: Claimed) -> bool:
    """Return it to where it was. False: something has its place by now, and it stays claimed.

    Raises:
        StoreFull, NoInodes, StoreFault: the drop directory's filesystem does not take it.
    """
    parent = split(claimed.rel)[0]
    with drop.opened("putting back what is still being written") as fd:
        try:
            make_directories(fd, parent, 0o777)
            move(fd, claimed.path, fd, claimed.rel)
        except FileExistsError:
            return False
        except FileNotFoundError:
            return True  # whoever removed it from .claimed has his way
        except OSError as exc:
            if exc.errno in {errno.ENOTDIR, errno.ELOOP}:
                return False
            raise
        fsync_directories(fd, [parent, split(claimed.path)[0]])
    return True


def written_to(drop: Drop, candidates: Sequence[Candidate]) -> set[bytes]:
    """Those candidates that somebody has open for writing, themselves or a member. What cannot be opened is not.

    Raises:
        StoreFault: the drop directory cannot be opened.
    """
    with drop.opened("looking for writers") as fd:
        return {candidate.rel for candidate in candidates if _is_written_to(fd, candidate)}


def _is_written_to(drop: int, candidate: Candidate) -> bool:
    try:
        if candidate.kind is Kind.FILE:
            with opened(drop, candidate.rel, READ_FILE) as file:
                check_unwritten(file)
        elif candidate.kind is Kind.BOOK:
            with opened(drop, candidate.rel) as book:
                for found in books.walk(book):
                    if not found.is_directory:
                        with opened(book, found.path, READ_FILE) as file:
                            check_unwritten(file)
    except StillWritten:
        return True
    except (OSError, BookRefused):
        return False  # it is claimed, and then looked at again where nobody changes it
    return False


def batches(drop: Drop) -> Iterator[bytes]:
    """The batches that stand in ``.claimed``; directories only, in no order.

    Raises:
        StoreFault: it cannot be read.
    """
    with drop.opened("reading .claimed") as fd, opened(fd, CLAIMED) as claimed, os.scandir(claimed) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield os.fsencode(entry.name)


def remove(drop: Drop, claimed: Claimed) -> bool:
    """Remove what is claimed: its bytes are in the store. Idempotent.

    Returns:
        False where it is not permitted: in a book there are directories that only their owner may change.

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
    """Whether it still stands there."""
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
            with suppress(FileNotFoundError), opened(fd, path) as here, os.scandir(here) as entries:
                for entry in entries:
                    if not entry.is_dir(follow_symlinks=False):
                        break  # something is still claimed here: it stays, and so do those above
                    pending.append(path + b"/" + os.fsencode(entry.name))
        for path in sorted(found, key=len, reverse=True):
            remove_empty(fd, path)
        return not is_claimed(fd, Claimed(batch, b"", Kind.ODD))
