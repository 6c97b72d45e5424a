"""Has the kernel copy a file to a plain connection, by ``sendfile``, in threads: no byte passes through Python.

The event loop never reads the file: a disk may be slow, a mount may hang. And no thread waits long for the other
side: the event loop waits until a connection takes more.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
from collections.abc import Callable
from typing import Protocol

from librarian_adapters.threads import in_thread

#: Copied in one call to a thread: a hop costs some 100 µs, a cancellation waits for one call.
_CALL_BYTES = 4 << 20
#: How long, and how often, one such call waits for the other side: who takes bytes at once needs no hop for each few.
_WAIT_MS = 2
_WAITS = 64
#: Copied by one ``sendfile``; before each, the thread asks whether it may go on.
PIECE_BYTES = 256 << 10


class Cut(Exception):
    """The other side does not take the bytes in time, or is to get no more of them."""


class CannotCopy(Exception):
    """The kernel does not send from such a file. Nothing is wrong with it, and nothing more was sent."""


class Described(Protocol):
    """A connection."""

    def fileno(self) -> int:
        """Its descriptor."""
        ...


class KernelCopy:
    """The bytes of one file from ``at`` to ``end``, to one connection. ``at`` moves while they are sent."""

    def __init__(
        self, file: int, at: int, end: int, connection: Described, *, stall_s: float, may_go_on: Callable[[], bool]
    ) -> None:
        """``may_go_on`` is called from threads, before each piece.

        asyncio has no unsent bytes of the connection: they would come after those that are sent here.
        """
        self.at = at
        self.end = end
        self._file = file
        self._stall_s = stall_s
        self._may_go_on = may_go_on
        # A descriptor of its own: a thread may still send when asyncio closes the connection, and another file would
        # get the number.
        self._socket = os.dup(connection.fileno())
        self._writable = select.poll()
        self._writable.register(self._socket, select.POLLOUT)

    async def run(self) -> None:
        """Send the bytes; fewer only where the file ends.

        Raises:
            Cut: the other side did not take :data:`PIECE_BYTES` within ``stall_s``, or is to get no more.
            CannotCopy: the file is on a filesystem from which the kernel does not send.
            ConnectionError: the connection broke.
            OSError: the file cannot be read.
        """
        taken, left_s = self.at, self._stall_s
        while self.at < self.end:
            if await in_thread(self._send, min(self.end, self.at + _CALL_BYTES)):
                return
            if self.at - taken >= PIECE_BYTES:
                taken, left_s = self.at, self._stall_s
            if self.at < self.end and not self._writable.poll(0):
                left_s -= await self._wait(left_s)

    async def _wait(self, most_s: float) -> float:
        """Until the connection takes more: for how long."""
        loop = asyncio.get_running_loop()
        writable = asyncio.Event()
        began_s = loop.time()
        loop.add_writer(self._socket, writable.set)
        try:
            async with asyncio.timeout(most_s):
                await writable.wait()
        except TimeoutError as exc:
            raise Cut from exc
        finally:
            loop.remove_writer(self._socket)
        return loop.time() - began_s

    def _send(self, end: int) -> bool:
        """Send up to ``end``, or as much as the other side takes at once. Returns whether the file ends before."""
        waits = 0
        while self.at < end:
            if not self._may_go_on():
                raise Cut
            try:
                sent = os.sendfile(self._socket, self._file, self.at, min(end - self.at, PIECE_BYTES))
            except BlockingIOError:
                if waits == _WAITS or not self._writable.poll(_WAIT_MS):
                    return False
                waits += 1
                continue
            except OSError as exc:
                if exc.errno in {errno.EINVAL, errno.ENOSYS}:
                    raise CannotCopy from exc
                raise self._whose(exc) from exc
            if not sent:
                return True
            self.at += sent
        return False

    def _whose(self, error: OSError) -> OSError:
        """The error, as one of the connection unless the file cannot be read there."""
        if isinstance(error, ConnectionError):
            return error
        try:
            os.pread(self._file, 1, self.at)
        except OSError as exc:
            return exc
        return ConnectionResetError(error.errno, error.strerror)

    def close(self) -> None:
        """Give the descriptor back. The connection stays open."""
        os.close(self._socket)
