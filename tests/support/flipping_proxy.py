"""A way between two sites that spoils bytes or stops, as the test wishes: a TCP proxy before a data plane."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

_CHUNK_BYTES = 64 << 10
_HEAD_START = b"HTTP/1."
_HEAD_END = b"\r\n\r\n"


class FlippingProxy:
    """Listens on ``address``; passes connections on to ``target`` of 127.0.0.1, set before the first one comes.

    One thread a connection and direction; it ends with the block.
    """

    def __init__(self) -> None:
        self.target = 0
        #: Flip one bit at this offset of the body, in so many more bodies that are long enough.
        self.flip_at = 0
        self.flips_left = 0
        self.flipped = 0
        #: While this is clear, no more than ``stall_after`` bytes of any answer pass.
        self.flowing = threading.Event()
        self.flowing.set()
        self.stall_after = 0
        #: Of the bodies of answers, since the beginning.
        self.passed_bytes = 0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flowing.set()
        with self._lock:
            for connection in [self._listening, *self._open]:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def flip_next(self, offset: int, bodies: int = 1) -> None:
        """Flip a bit in each of the next bodies that reach so far."""
        self.flip_at, self.flips_left = offset, bodies

    def stall(self, after_bytes: int) -> None:
        """Let no more than so many bytes of each answer pass until ``flowing`` is set."""
        self.stall_after = after_bytes
        self.flowing.clear()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                threading.Thread(target=self._connect, args=(near,), daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        with near, suppress(OSError), socket.create_connection(("127.0.0.1", self.target)) as far:
            with self._lock:
                self._open |= {near, far}
            try:
                asking = threading.Thread(target=self._ask, args=(near, far), daemon=True)
                asking.start()
                self._answer(far, near)
                asking.join()
            finally:
                with self._lock:
                    self._open -= {near, far}

    def _ask(self, near: socket.socket, far: socket.socket) -> None:
        """Requests go through as they are."""
        with suppress(OSError):
            while chunk := near.recv(_CHUNK_BYTES):
                far.sendall(chunk)
        _end(far)

    def _answer(self, far: socket.socket, near: socket.socket) -> None:
        """Answers, each of which begins with a chunk of its own: nobody asks again before the last one has ended."""
        passed = 0
        head: bytes | None = b""
        with suppress(OSError):
            while chunk := far.recv(_CHUNK_BYTES):
                if chunk.startswith(_HEAD_START):
                    head, passed = b"", 0
                if head is not None:
                    head += chunk
                    if _HEAD_END not in head:
                        continue
                    # In one piece, so that offsets count from the body's first byte.
                    lines, _, body = head.partition(_HEAD_END)
                    near.sendall(lines + _HEAD_END)
                    chunk, head = body, None
                if not self.flowing.is_set() and passed + len(chunk) > self.stall_after:
                    near.sendall(chunk[: max(self.stall_after - passed, 0)])
                    chunk = chunk[max(self.stall_after - passed, 0) :]
                    passed = max(passed, self.stall_after)
                    self.flowing.wait()
                near.sendall(self._spoiled(chunk, passed))
                passed += len(chunk)
                with self._lock:
                    self.passed_bytes += len(chunk)
        _end(near)

    def _spoiled(self, chunk: bytes, passed: int) -> bytes:
        with self._lock:
            place = self.flip_at - passed
            if not self.flips_left or not 0 <= place < len(chunk):
                return chunk
            self.flips_left -= 1
            self.flipped += 1
        return chunk[:place] + bytes([chunk[place] ^ 0x10]) + chunk[place + 1 :]


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
