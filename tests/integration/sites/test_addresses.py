"""A peer announces an address of this very machine: nothing is dialled there, and nobody's words are repeated."""

from __future__ import annotations

import socket
import threading
from contextlib import closing
from pathlib import Path

from tests.support.oracle import some_bytes
from tests.support.sites import Pair, Site, free_port, sites


class Bystander:
    """Some service on this machine that is no site; it counts who connects."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.heard: list[bytes] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                self.heard.append(connection.recv(100))
                connection.sendall(b"HTTP/1.1 500 secret\r\nContent-Length: 6\r\n\r\nsecret")

    def close(self) -> None:
        self._socket.close()


def test_a_site_that_is_not_on_loopback_does_not_ask_its_own_machine(tmp_path: Path) -> None:
    with closing(Bystander()) as bystander:
        bus = f"embedded:{free_port()}"
        source = Site(tmp_path / "s", "summit", bus=bus, advertise=f"0x7f000001:{bystander.port}")
        # As where it stands on another machine; here both must be on one.
        far = {"LIBRARIAN_DATA__LOOPBACK_PEERS": "off"}
        destination = Site(tmp_path / "d", "archive", overlay=far)
        both = Pair(source, destination)
        with sites(source, destination):
            both.join()
            destination.lbctl("subscription", "add", "--from", "summit")
            source.drop_file("a.dat", some_bytes(100))

            def failed() -> str | None:
                found = destination.client.transfers()
                return found.transfers[0].message if found.transfers and found.transfers[0].reason else None

            message = both.wait_for("it fails", failed)
            assert "loopback" in message
            assert "secret" not in message
            assert bystander.heard == []
            assert destination.client.transfers().transfers[0].reason == "source-invalid"
