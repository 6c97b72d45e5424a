"""An rsync daemon that lies: it speaks protocol 27 by hand, and sends names, kinds and bytes that nobody asked for."""

from __future__ import annotations

import socket
import stat
import struct
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress

import msgspec

_PROTOCOL = 27
_LONG_NAME = 0x40


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What the list of files says of one, and what comes when it is asked for."""

    name: bytes
    size_bytes: int = 4
    mode: int = stat.S_IFREG | 0o644
    #: Literal bytes that are sent, a piece again and again.
    piece: bytes = b"evil"
    pieces: int = 1


class HostileRsync:
    """One module, any name; each connection is served the same entries."""

    def __init__(self, entries: list[Entry], *, silent: bool = False) -> None:
        self._entries = sorted(entries, key=lambda entry: entry.name)
        self._silent = silent
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        #: Names that clients asked for, and how many files they let us send.
        self.asked: list[bytes] = []
        self.sent = 0
        self.requested = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """No more connections."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(10)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection, suppress(OSError, EOFError):
                connection.settimeout(20)
                _Session(self, connection, self._entries, self._silent).run()


class _Session:
    def __init__(self, server: HostileRsync, connection: socket.socket, entries: list[Entry], silent: bool) -> None:
        self._server = server
        self._connection = connection
        self._entries = entries
        self._silent = silent
        self._read = connection.makefile("rb")

    def run(self) -> None:
        send = self._connection.sendall
        if self._silent:
            self._exactly(1 << 20)
        send(b"@RSYNCD: %d.0\n" % _PROTOCOL)
        self._line()  # its version
        self._line()  # the module
        send(b"@RSYNCD: OK\n")
        while self._line():
            pass  # its arguments
        send(struct.pack("<i", 1))  # the seed of checksums
        self._exactly(4)  # no filters
        name = b""
        while True:
            byte = self._exactly(1)
            if byte != b"\0":
                name += byte
                continue
            if not name:
                break
            self._server.asked.append(name)
            name = b""
        listed = b""
        for entry in self._entries:
            listed += struct.pack("<BI", _LONG_NAME, len(entry.name)) + entry.name
            listed += struct.pack("<iiI", entry.size_bytes, 1_700_000_000, entry.mode)
        self._tell(listed + b"\0" + struct.pack("<i", 0))
        self._answer()

    def _answer(self) -> None:
        """Send what is asked for, in two phases, until the other side is content."""
        phases = 0
        while phases < 2:
            (index,) = struct.unpack("<i", self._exactly(4))
            if index == -1:
                phases += 1
                self._tell(struct.pack("<i", -1))
                continue
            count, _, length, _ = struct.unpack("<4i", self._exactly(16))
            self._exactly(count * (4 + length))
            entry = self._entries[index]
            self._server.sent += 1
            self._tell(struct.pack("<i", index) + struct.pack("<4i", 0, 700, 2, 0))
            for _ in range(entry.pieces):
                self._tell(struct.pack("<i", len(entry.piece)) + entry.piece)
            self._tell(struct.pack("<i", 0) + bytes(16))

    def _tell(self, data: bytes) -> None:
        for at in range(0, len(data), 1 << 16):
            some = data[at : at + (1 << 16)]
            self._connection.sendall(struct.pack("<I", (7 << 24) | len(some)) + some)

    def _line(self) -> bytes:
        line = self._read.readline()
        if not line:
            raise EOFError
        return line.rstrip(b"\n")

    def _exactly(self, size: int) -> bytes:
        data = self._read.read(size)
        if len(data) < size:
            raise EOFError
        return data


@contextmanager
def hostile_rsync(*entries: Entry, silent: bool = False) -> Generator[HostileRsync]:
    """A lying daemon, for the block."""
    server = HostileRsync(list(entries), silent=silent)
    try:
        yield server
    finally:
        server.close()
