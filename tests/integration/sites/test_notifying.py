"""The service manager is told when the daemon is ready, that it lives, and that it ends."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest
from tests.support.sites import Site, free_port, sites


def heard(listening: socket.socket, word: str, timeout_s: float = 20.0) -> list[str]:
    """Everything that is told until a word comes, inclusive."""
    listening.settimeout(timeout_s)
    lines: list[str] = []
    while word not in lines:
        lines += listening.recv(4096).decode().split("\n")
    return lines


def falls_silent(listening: socket.socket) -> bool:
    """Whether nothing comes for two seconds, once what was on its way is read."""
    listening.settimeout(2.0)
    for _ in range(100):
        try:
            listening.recv(4096)
        except TimeoutError:
            return True
    return False


@pytest.mark.parametrize("abstract", [False, True])
def test_ready_comes_once_bus_and_stores_are_usable_and_the_watchdog_stops_with_the_loop(
    tmp_path: Path, abstract: bool
) -> None:
    address = f"@librarian-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + address[1:] if abstract else address)
        overlay = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"}
        site = Site(tmp_path / "summit", "summit", bus=f"embedded:{free_port()}", overlay=overlay)
        with sites(site):
            site.start()
            before = heard(listening, "READY=1")
            assert "WATCHDOG=1" in before
            assert site.client.status().bus.connected
            assert "STATUS=all is well" in [*before, *heard(listening, "WATCHDOG=1")]
            heard(listening, "WATCHDOG=1")

            assert site.process is not None
            os.kill(site.process.pid, signal.SIGSTOP)  # the loop hangs
            assert falls_silent(listening)
            os.kill(site.process.pid, signal.SIGCONT)
            heard(listening, "WATCHDOG=1")
            assert site.stop() == 0
            assert heard(listening, "STOPPING=1")
