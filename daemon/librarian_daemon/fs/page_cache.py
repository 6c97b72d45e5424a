"""Keeps what is read once out of memory, and has it come from the disk."""

from __future__ import annotations

import os
from contextlib import suppress


def forget(fd: int, begin: int, size_bytes: int) -> None:
    """Have the kernel forget what it holds of these bytes of a file, unless they still have to be written.

    Quick. Some filesystems do not do it: then they come from memory.
    """
    with suppress(OSError):
        os.posix_fadvise(fd, begin, size_bytes, os.POSIX_FADV_DONTNEED)
