"""An open file of a store."""

from __future__ import annotations

import os

from librarian_adapters.threads import in_thread
from librarian_protocol.errors import StoreFault


class PosixReader:
    """Implements :class:`librarian_daemon.ports.store.Reader` by a descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd
        self.size_bytes = os.fstat(fd).st_size

    def fileno(self) -> int:
        """A descriptor open for reading, positioned at the beginning."""
        if self._fd is None:
            raise ValueError("the reader is closed")
        return self._fd

    async def read(self, begin: int, size_bytes: int) -> bytes:
        """That many bytes from ``begin``; fewer only at its end.

        Raises:
            StoreFault: they cannot be read.
        """
        try:
            return await in_thread(os.pread, self.fileno(), size_bytes, begin)
        except OSError as exc:
            raise StoreFault(exc.strerror or str(exc)) from exc

    def close(self) -> None:
        """Idempotent."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)
