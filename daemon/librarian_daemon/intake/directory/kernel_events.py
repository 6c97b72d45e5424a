"""The kernel's events about directories (inotify), read many at a time: a library's object for each costs 30 µs."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

from asyncinotify import Inotify, Mask

#: Bits of :attr:`KernelEvent.mask`. Plain numbers: the library's flags cost a microsecond for each comparison.
IGNORED, OVERFLOW, IS_DIRECTORY = int(Mask.IGNORED), int(Mask.Q_OVERFLOW), int(Mask.ISDIR)
MOVED_FROM, MOVED_TO = int(Mask.MOVED_FROM), int(Mask.MOVED_TO)
#: Some 2,000 events with names of 16 bytes.
_READ_BYTES = 64 << 10
#: inotify(7): watch, mask, cookie, length of the name, which follows and is padded with zeros.
_HEADER = struct.Struct("=iIII")


class KernelEvent(NamedTuple):
    """One event."""

    #: The number of the watch; -1 for :data:`OVERFLOW`.
    watch: int
    mask: int
    #: The same for both halves of a rename.
    cookie: int
    #: The entry of the directory; b"" if it is about the directory itself.
    name: bytes


class EventQueue(Inotify):
    """Watches, and the events about them."""

    async def readable(self) -> None:
        """Wait until there are events."""
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self.fd, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self.fd)

    def read(self) -> Iterator[KernelEvent]:
        """The events that are there, some at least, in their order; to be called when they are :meth:`readable`."""
        data = os.read(self.fd, _READ_BYTES)
        at = 0
        while at < len(data):
            watch, mask, cookie, length = _HEADER.unpack_from(data, at)
            at += _HEADER.size + length
            if mask & IGNORED:
                self._watches.pop(watch, None)
            yield KernelEvent(watch, mask, cookie, data[at - length : at].rstrip(b"\0"))
