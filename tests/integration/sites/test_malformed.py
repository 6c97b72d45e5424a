"""Strangers before a real daemon: what they send fills no log, holds no memory, and is repeated to nobody."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.processes import daemon_of
from tests.support.sites import Site, free_port, sites, wait_for

#: What each stranger says, and a few of them at each of the daemon's addresses.
RUBBISH = (
    b"GET / HTTP/9.7\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 900 + b"\0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
    b"POST /data/v1/bundle HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n\r\n",
    b"GET / HTTP/1.1\r\nNo colon here\r\n\r\n",
    b"\x16\x03\x01 not a handshake \xff\xfe" + b"z" * 900 + b"\r\n\r\n",
)
#: The daemon says this little of all that, at most: a few lines of each kind, in each of a few whiles.
MOST_LOGGED_BYTES = 100_000
MIB = 1 << 20


class Gates:
    """A daemon with TLS on its data address, and its page."""

    def __init__(self, site: Site, page: int) -> None:
        self.site = site
        self.page = page
        self.tls = ssl.create_default_context()
        self.tls.check_hostname, self.tls.verify_mode = False, ssl.CERT_NONE

    def say(self, where: str, data: bytes) -> bytes:
        """What is answered first; then the stranger is gone."""
        with suppress(OSError), self._at(where) as stranger:
            stranger.settimeout(10)
            stranger.sendall(data)
            return stranger.recv(65536)
        return b""

    def _at(self, where: str) -> socket.socket:
        if where == "control":
            control = socket.socket(socket.AF_UNIX)
            control.connect(str(self.site.root / "lbd.sock"))
            return control
        port = self.page if where == "page" else self.site.data_port
        plain = socket.create_connection(("127.0.0.1", port), timeout=10)
        return self.tls.wrap_socket(plain) if where == "data" else plain

    def half_open(self, number: int) -> list[socket.socket]:
        """So many connections that begin a TLS handshake, and leave it there."""
        made: list[socket.socket] = []
        for count in range(number):
            came, hello = ssl.MemoryBIO(), ssl.MemoryBIO()
            with suppress(ssl.SSLWantReadError):
                self.tls.wrap_bio(came, hello).do_handshake()
            connection = socket.create_connection(
                ("127.0.0.1", self.site.data_port), timeout=10, source_address=(f"127.0.0.{2 + count % 50}", 0)
            )
            with suppress(OSError):  # it is cut already
                connection.sendall(hello.read())
            made.append(connection)
        return made

    def resident_bytes(self) -> int:
        """Of the daemon."""
        status = Path(f"/proc/{daemon_of(self.site)}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) << 10


@pytest.fixture(scope="module")
def gates(tmp_path_factory: pytest.TempPathFactory) -> Generator[Gates]:
    page = free_port()
    site = Site(
        tmp_path_factory.mktemp("malformed") / "summit",
        "summit",
        bus=f"embedded:{free_port()}",
        changed={'# tls = "auto"': 'tls = "on"'},
        overlay={"LIBRARIAN_PAGE__LISTEN": f"127.0.0.1:{page}"},
    )
    with sites(site):
        site.start()
        wait_for("the page is served", lambda: site.client.status().page, site)
        yield Gates(site, page)


def test_a_flood_of_malformed_requests_is_a_few_short_lines_of_json(gates: Gates) -> None:
    site = gates.site
    before = site.log.stat().st_size
    for number in range(600):
        answer = gates.say("page", RUBBISH[number % len(RUBBISH)])
        assert b"yyyy" not in answer, answer
        assert b"zzzz" not in answer, answer
    for number in range(120):
        gates.say(("data", "control")[number % 2], RUBBISH[number // 2 % len(RUBBISH)])
    for _ in range(40):
        gates.say("plain text where TLS is", RUBBISH[0])
    assert site.is_healthy()
    wait_for("what was left out is told", lambda: site.logged("lines_left_out"), site)
    log = site.log.read_bytes()[before:]
    assert len(log) < MOST_LOGGED_BYTES, log[:2000]
    lines = [json.loads(line) for line in log.splitlines()]
    assert all(len(line) < 5000 for line in log.splitlines())
    assert {"request_malformed", "lines_left_out"} <= {line["event"] for line in lines}


def test_a_refusal_tells_a_stranger_nothing_of_members_and_repeats_nothing(gates: Gates) -> None:
    signed = {"Lb-Site": "summit", "Lb-Expires": "1", "Lb-Body": "0" * 64, "Lb-Signature": "0" * 128}
    said = set[bytes]()
    for change in ({}, {"Lb-Site": "nobody"}, {"Lb-Expires": "tomorrow"}, {"Lb-Site": ""}, {"Lb-Signature": "x"}):
        headers = "".join(f"{key}: {value}\r\n" for key, value in (signed | change).items())
        answer = gates.say("data", f"GET /data/v1/bytes/x HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 401 "), answer
        assert b"\r\n\r\n{" in answer
        said.add(answer.partition(b"\r\n\r\n")[2])
    assert len(said) == 1
    (text,) = said
    assert not any(word in text for word in (b"ed25519", b"invalid literal", b"tomorrow", b"nobody", b"summit"))


def test_half_open_handshakes_hold_little_memory_and_give_it_back(gates: Gates) -> None:
    gates.say("data", RUBBISH[0])
    before = gates.resident_bytes()
    most = 0
    for _ in range(3):
        strangers = gates.half_open(400)
        most = max(most, gates.resident_bytes())
        for stranger in strangers:
            stranger.close()
    assert most < before + 64 * MIB
    assert gates.site.is_healthy()
    wait_for("memory is given back", lambda: gates.resident_bytes() < before + 16 * MIB, gates.site)
    assert b" 200 " in gates.say("data", b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
