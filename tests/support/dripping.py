"""A site that brings its bytes one by one: a TCP proxy that passes answers on at full speed only up to a point."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

#: Of each connection this much passes at once: more than a header.
PASSED_BYTES = 8 << 10


class DrippingProxy:
    """Listens on ``address``; of what ``target`` (a local port) answers, one byte passes each ``every_s`` seconds."""

    def __init__(self, *, every_s: float = 0.5) -> None:
        self.target = 0
        #: False: everything passes at full speed from now on.
        self.hold = True
        #: Connections by which bytes still come.
        self.open = 0
        self._lock = threading.Lock()
        self._every_s = every_s
        self._over = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(0.1)
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._accepting.join()
        self._listening.close()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                client, _ = self._listening.accept()
            except OSError:  # nobody for a while: look whether it is over
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        with client, server:
            passing = threading.Thread(target=self._pass_on, args=(client, server), daemon=True)
            passing.start()
            self._drip(server, client)
            passing.join()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        _end(source, sink)

    def _drip(self, source: socket.socket, sink: socket.socket) -> None:
        left = PASSED_BYTES
        with self._lock:
            self.open += 1
        with suppress(OSError):
            while data := source.recv((1 if left <= 0 else left) if self.hold else 1 << 16):
                sink.sendall(data)
                left -= len(data)
                if left <= 0 and self.hold and self._over.wait(self._every_s):
                    break
        _end(source, sink)
        with self._lock:
            self.open -= 1


def _end(*both: socket.socket) -> None:
    """Whoever is blocked in reading one of them ends."""
    for connection in both:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
