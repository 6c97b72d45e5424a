"""Decides modes and group of the files in a store, whatever the umask is."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

import msgspec

from librarian_daemon.config.groups import group_id
from librarian_daemon.config.settings import StoreSettings
from librarian_protocol.attributes import PLAIN, OfMember, file_mode

_DEFAULT_DIRECTORY = 0o755
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class Modes(msgspec.Struct, frozen=True, kw_only=True):
    """The modes and the group of a ``[[store]]``."""

    file: int = 0o444
    #: None: 0755 within books; above names 0755 as far as the umask allows.
    directory: int | None = None
    #: Group id; None to keep the filesystem's choice.
    group: int | None = None

    def settle_file(self, fd: int, kept: OfMember = PLAIN, state: os.stat_result | None = None) -> None:
        """Set group, mode and time of a file; the time if the filesystem accepts it. Idempotent. Raises OSError.

        ``state``: of the file, where it was read just now.
        """
        self._give(fd)
        os.fchmod(fd, file_mode(self.file, kept.executable))
        set_time(fd, kept.mtime_ns, state)

    def settle_directory(self, fd: int) -> None:
        """Set group and mode of a directory within a book. Idempotent. Raises OSError."""
        self._give(fd)
        os.fchmod(fd, _DEFAULT_DIRECTORY if self.directory is None else self.directory)

    @property
    def above(self) -> Callable[[int], None] | None:
        """Mode of a new directory above names; None to keep the mode that it was made with."""
        return self.settle_above if self.directory is not None or self.group is not None else None

    def settle_above(self, fd: int) -> None:
        """Set group and mode of a new directory above names. Idempotent. Raises OSError."""
        if self.directory is not None:
            self.settle_directory(fd)
        else:
            self._give(fd)

    def settle_ours(self, fd: int) -> None:
        """Set the mode of a directory of ``.librarian`` that readers of the store can read; only the daemon writes
        there.
        """
        self._give(fd)
        if self.directory is not None:
            os.fchmod(fd, stat.S_IMODE(self.directory) & ~_OTHERS_WRITE)

    def _give(self, fd: int) -> None:
        if self.group is None or os.fstat(fd).st_gid == self.group:
            return
        try:
            os.fchown(fd, -1, self.group)
        except OSError as exc:
            if exc.errno not in {errno.EPERM, errno.EINVAL}:
                raise
            raise PermissionError(errno.EPERM, f"this user cannot assign the group with id {self.group}") from exc


DEFAULT = Modes()


def set_time(fd: int, mtime_ns: int | None, state: os.stat_result | None = None) -> None:
    """Set the modification time of a file. A filesystem that cannot store it does not prevent landing."""
    if mtime_ns is None:
        return
    state = state or os.fstat(fd)
    if state.st_mtime_ns == mtime_ns:
        return
    try:
        os.utime(fd, ns=(state.st_atime_ns, mtime_ns))
    except (OSError, OverflowError):
        return


def modes_of(settings: StoreSettings) -> Modes:
    """The modes and the group from a store's settings.

    Raises:
        ConfigInvalid: this machine knows no such group.
    """
    return Modes(
        file=int(settings.file_mode, 8),
        directory=int(settings.dir_mode, 8) if settings.dir_mode else None,
        group=group_id(settings.group) if settings.group else None,
    )
