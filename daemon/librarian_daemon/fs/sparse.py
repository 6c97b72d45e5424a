"""Writes sparse files: blocks of zeros are skipped, so a hole at the source becomes a hole here.

The file must hold nothing behind the descriptor's position. A crash can leave it shorter than what was written, by
zeros at its end: a resumed copy sends them again.
"""

from __future__ import annotations

import os

from librarian_adapters.contract import Buffer

BLOCK_BYTES = 4096
_ZEROS = memoryview(bytes(BLOCK_BYTES))


def write(fd: int, data: Buffer) -> None:
    """Append, skipping whole blocks of zeros; the position moves behind all of it. Raises OSError."""
    view = memoryview(data).cast("B")
    written = 0
    for at in _zero_blocks(view, -os.lseek(fd, 0, os.SEEK_CUR) % BLOCK_BYTES):
        if at > written:
            _write_all(fd, view[written:at])
        os.lseek(fd, BLOCK_BYTES, os.SEEK_CUR)
        written = at + BLOCK_BYTES
    _write_all(fd, view[written:])


def write_all(fd: int, data: Buffer) -> None:
    """Write all of a new, empty file. Raises OSError."""
    view = memoryview(data).cast("B")
    if _zero_blocks(view, 0):
        write(fd, view)
        finish(fd)
    else:
        _write_all(fd, view)


def finish(fd: int) -> None:
    """Extend the file to the descriptor's position: zeros at the end are not written yet. Raises OSError."""
    end = os.lseek(fd, 0, os.SEEK_CUR)
    if os.fstat(fd).st_size < end:
        os.ftruncate(fd, end)


def _zero_blocks(view: memoryview, first: int) -> list[int]:
    """Offsets of the blocks of zeros, among the blocks from ``first`` on."""
    last = len(view) - BLOCK_BYTES
    # Look at the first byte of each block first: for other data few blocks need a full comparison.
    heads = bytes(view[first : last + 1 : BLOCK_BYTES]) if last >= first else b""
    found: list[int] = []
    number = heads.find(0)
    while number >= 0:
        at = first + number * BLOCK_BYTES
        if view[at : at + BLOCK_BYTES] == _ZEROS:
            found.append(at)
        number = heads.find(0, number + 1)
    return found


def _write_all(fd: int, view: memoryview) -> None:
    while view:
        view = view[os.write(fd, view) :]
