"""A drop directory. Anybody may write to it, so every path is opened beneath it (I9).

::

    <drop>/...                             what people put there
    <drop>/.claimed/<batch>/<rel>          claimed, under its own relative path
    <drop>/.rejected/<utc>-<id>/<rel>      refused, with REASON.txt beside
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager

from librarian_adapters.beneath import DIRECTORY
from librarian_daemon.fs.beneath import directory, filesystem_type, fsync_beneath, make_directories, opened, split
from librarian_daemon.fs.os_errors import naming
from librarian_protocol.errors import StoreFault, StoreNotMounted

CLAIMED = b".claimed"
REJECTED = b".rejected"
OURS = frozenset({CLAIMED, REJECTED})

#: Filesystems on which another machine's changes raise no event here: NFS, SMB, FUSE, Lustre, GPFS, Ceph, 9P, AFS.
_EVENTLESS = frozenset(
    {
        0x6969,
        0x517B,
        0xFE534D42,
        0xFF534D42,
        0x65735546,
        0x0BD00BD0,
        0x47504653,
        0x00C36400,
        0x01021997,
        0x5346414F,
        0x19830326,
    }
)
#: It is gone, or was replaced just now: an event or the next walk finds it again.
VANISHED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
#: Or it was closed to us.
_GONE = VANISHED | {errno.EACCES, errno.EPERM}


class Drop:
    """One drop directory. It is opened again for each operation."""

    def __init__(self, path: str) -> None:
        self.path = path

    @contextmanager
    def opened(self, doing: str) -> Generator[int]:
        """A descriptor of the drop directory; every OSError of the block becomes a StoreError about ``doing``.

        Raises:
            StoreNotMounted: there is no such directory.
            StoreFull, NoInodes, StoreFault: any other error there.
        """
        with ExitStack() as stack:
            stack.enter_context(naming(doing, self.path))
            try:
                fd = stack.enter_context(directory(self.path))
            except FileNotFoundError as exc:
                raise StoreNotMounted(
                    f"drop directory {self.path} does not exist",
                    hint=f"mkdir -p {self.path}, or mount it; the daemon never makes it: it may be a mount point",
                ) from exc
            yield fd

    def identity(self) -> tuple[int, int]:
        """Device and inode of the directory that is there now; raises as :meth:`opened`."""
        with self.opened("looking at the drop directory") as fd:
            state = os.fstat(fd)
        return state.st_dev, state.st_ino

    def prepare(self) -> None:
        """Make our own directories in the drop directory, never the drop directory itself. Idempotent.

        Raises:
            StoreNotMounted: it does not exist.
            StoreFault: it cannot be prepared, or somebody else owns ``.claimed``.
        """
        with self.opened("preparing the drop directory") as fd:
            for name, mode in ((CLAIMED, 0o700), (REJECTED, 0o755)):
                make_directories(fd, name, mode)
                with opened(fd, name) as ours:
                    if os.fstat(ours).st_uid != os.geteuid():
                        raise StoreFault(
                            f"{self.path}/{os.fsdecode(name)} belongs to somebody else than the daemon",
                            hint="move it away; the daemon makes its own",
                        )
                    os.fchmod(ours, mode)

    def has_events(self) -> bool:
        """Whether the filesystem reports every change by inotify."""
        with self.opened("looking at the filesystem") as fd:
            kind = filesystem_type(fd)
        return kind is not None and kind not in _EVENTLESS

    def may_rename_into(self, store_root: str) -> bool:
        """Whether claimed files can be renamed into a store; raises as :meth:`why_copied`."""
        return not self.why_copied(store_root)

    def why_copied(self, store_root: str) -> str:
        """Why claimed files cannot be renamed into a store; "" if those that are ours alone can.

        The same filesystem *and* the same mount (between two bind mounts a rename fails), and nobody but us can
        swap ``.claimed`` for something else between the hash and the rename.

        Raises:
            StoreError: one of the two cannot be looked at.
        """
        with (
            self.opened("looking at the drop directory") as here,
            naming("looking at the store", store_root),
            directory(store_root) as there,
        ):
            mine, theirs = os.fstat(here), os.fstat(there)
            same = mine.st_dev == theirs.st_dev and _mount_id(here) == _mount_id(there)
        if not same:
            return "the store is on another filesystem or another mount"
        if mine.st_uid not in {0, os.geteuid()}:
            return "the drop directory is another user's"
        if mine.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not mine.st_mode & stat.S_ISVTX:
            return "others may rename files in the drop directory (chmod +t prevents this)"
        return ""


def _mount_id(fd: int) -> int:
    """The kernel's number of the mount; -1 - fd (equal to no other) if it does not say."""
    try:
        with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as info:
            for line in info:
                if line.startswith("mnt_id:"):
                    return int(line.split()[1])
    except OSError:
        pass
    return -1 - fd


def claimed_path(batch: bytes, rel: bytes = b"") -> bytes:
    """Path of a claimed candidate below the drop directory."""
    return CLAIMED + b"/" + batch + (b"/" + rel if rel else b"")


def parents(path: bytes) -> list[bytes]:
    """Every parent directory of the path, the nearest first, without the top."""
    above: list[bytes] = []
    parent = split(path)[0]
    while parent:
        above.append(parent)
        parent = split(parent)[0]
    return above


def fsync_directories(drop: int, paths: Iterable[bytes]) -> None:
    """Make the entries of these directories durable. A directory that vanished holds nothing of ours.

    Nor does one that was closed to us meanwhile: people change the directories from which files were claimed.
    """
    for path in paths:
        try:
            fsync_beneath(drop, path)
        except OSError as exc:
            if exc.errno not in _GONE:
                raise


def remove_empty(drop: int, path: bytes) -> bool:
    """Remove a directory if it is empty; returns whether it is gone."""
    parent, name = split(path)
    try:
        with opened(drop, parent, DIRECTORY) as fd:
            os.rmdir(name, dir_fd=fd)
    except FileNotFoundError:
        return True
    except OSError:  # not empty, not ours, not a directory: it stays
        return False
    return True


def shown(path: bytes) -> str:
    """A raw path for logs and people: UTF-8 if valid; escaped if it is not, or could harm a terminal."""
    text = path.decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
