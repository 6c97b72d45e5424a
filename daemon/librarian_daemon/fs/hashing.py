"""Reading bytes whole: sizes and digests."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from blake3 import blake3

from librarian_protocol.digests import Digest

CHUNK_BYTES = 1 << 20


class Stopped(Exception):
    """The caller no longer wants the bytes."""


def hash_fd(
    fd: int,
    stop: threading.Event | None = None,
    also: Callable[[memoryview], None] | None = None,
    *,
    expected_bytes: int | None = None,
) -> tuple[int, Digest]:
    """Read from the descriptor's position to the end: how many bytes, and their blake3 digest.

    ``also`` gets every chunk, which it may use until it returns. ``expected_bytes`` is its size as far as the caller
    knows: the buffer is chosen by it.

    Raises:
        OSError: it cannot be read.
        Stopped: ``stop`` was set meanwhile.
    """
    hasher = blake3()
    if expected_bytes is None:
        expected_bytes = os.fstat(fd).st_size
    buffer = bytearray(min(CHUNK_BYTES, max(expected_bytes, 1) + 1))
    view = memoryview(buffer)
    size_bytes = 0
    while count := os.readv(fd, [buffer]):
        hasher.update(view[:count])
        if also is not None:
            also(view[:count])
        size_bytes += count
        if stop is not None and stop.is_set():
            raise Stopped
    return size_bytes, Digest(f"blake3:{hasher.hexdigest()}")
