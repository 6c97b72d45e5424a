"""Good members of a bad book are used again: they get a second link in staging. Blocking code."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import suppress

from librarian_adapters.beneath import READ_FILE
from librarian_daemon.fs.beneath import opened, split
from librarian_daemon.fs.hashing import Stopped, hash_fd
from librarian_daemon.fs.os_errors import naming
from librarian_daemon.stores.posix.layout import STAGING, Root
from librarian_daemon.stores.posix.staging import make_staged_directories
from librarian_protocol.manifest import MemberFile
from librarian_protocol.names import Name


def stage_good(root: Root, name: Name, members: Sequence[MemberFile], key: str, stop: threading.Event) -> list[bool]:
    """As :meth:`librarian_daemon.ports.store_capabilities.Keeping.stage_good`."""
    with root.opened() as fd, naming("looking at the members of a book", root.path):
        try:
            with opened(fd, os.fsencode(name)) as book, opened(fd, STAGING) as staging:
                return [_link(book, staging, member, os.fsencode(key), stop) for member in members]
        except (FileNotFoundError, NotADirectoryError):
            return [False] * len(members)


def _link(book: int, staging: int, member: MemberFile, key: bytes, stop: threading.Event) -> bool:
    """Whether the member is right and stands in staging now. What cannot be read or linked is fetched."""
    path = os.fsencode(member.path)
    with suppress(OSError, Stopped):
        with opened(book, path, READ_FILE) as fd:
            if os.fstat(fd).st_size != member.size_bytes or hash_fd(fd, stop)[1] != member.digest:
                return False
            inode = os.fstat(fd).st_ino
        staged = key + b"/" + path
        parent, last = split(staged)
        make_staged_directories(staging, parent)
        with opened(book, split(path)[0]) as source, opened(staging, parent) as target:
            os.link(split(path)[1], last, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
            if os.stat(last, dir_fd=target, follow_symlinks=False).st_ino == inode:
                return True
            os.unlink(last, dir_fd=target)  # something else stands at the name by now
    return False
