"""One site of the demo: a directory, a daemon of its own, and what its log says."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from lbctl import init
from lbctl.site_toml import Choices
from librarian_client import Client
from librarian_protocol.errors import DaemonUnreachable, SiteError
from librarian_protocol.names import SiteName

T = TypeVar("T")

#: For a start on a busy machine, migrations and nats-server included.
START_TIMEOUT_S = 30.0
#: The daemon finishes what is in flight, then leaves.
STOP_TIMEOUT_S = 15.0
POLL_S = 0.1
LOG_LINES = 25


def free_ports(number: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on now. All are held until all are known, so none is twice."""
    with ExitStack() as held:
        ports: list[int] = []
        for _ in range(number):
            probe = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            probe.bind(("127.0.0.1", 0))
            ports.append(int(probe.getsockname()[1]))
        return ports


class DemoSite:
    """A site below ``root``; ``bus_port`` is that of its own server, None for one that joins."""

    def __init__(self, root: Path, name: str, *, data_port: int, bus_port: int | None) -> None:
        self.name = name
        self.root = root / name
        self.drop = self.root / "drop"
        self.drop_books = self.root / "drop-books"
        self.log = self.root / "lbd.log"
        self.config = init.create(
            self.root,
            Choices(
                site=SiteName.parse(name),
                store="store",
                drop="drop",
                drop_books="drop-books",
                listen=f"127.0.0.1:{data_port}",
                advertise="",
                bus_mode="join" if bus_port is None else "embedded",
                bus_listen=f"127.0.0.1:{bus_port or 4222}",
                bus_advertise="",
                bus_url="",
                leaf_listen="",
                leaf_advertise="",
                catalog="sqlite:///catalog.sqlite",
                page="127.0.0.1:0",
                metrics="127.0.0.1:0",
            ),
        )
        self.client = Client.from_config(self.config)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the daemon and wait until it answers.

        Raises:
            SiteError: it ended, or does not answer.
        """
        # The user's own overlay is for the user's own site, not for these two.
        environ = {key: value for key, value in os.environ.items() if not key.startswith("LIBRARIAN_")}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "librarian_daemon", "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environ,
                # Ctrl-C is for this program alone, which stops the daemons in good order.
                process_group=0,
            )
        self.until("its daemon answers", START_TIMEOUT_S, self._answers)

    def _answers(self) -> bool:
        try:
            self.client.status()
        except DaemonUnreachable:
            return False
        return True

    def until(self, what: str, timeout_s: float, look: Callable[[], T]) -> T:
        """Look again and again until there is something true.

        Raises:
            SiteError: the daemon ended meanwhile, or the time is over.
        """
        end = time.monotonic() + timeout_s
        while True:
            found = look()
            if found:
                return found
            self.check()
            if time.monotonic() > end:
                raise SiteError(f"{self.name}: not within {timeout_s:g} s: {what}")
            time.sleep(POLL_S)

    def check(self) -> None:
        """Raise SiteError if the daemon has ended."""
        if self._process is not None and self._process.poll() is not None:
            raise SiteError(f"{self.name}: its daemon ended with exit code {self._process.returncode}")

    def terminate(self) -> None:
        """Ask the daemon to end; idempotent."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def wait(self) -> None:
        """Wait until the daemon has ended; at last by force."""
        if self._process is None:
            return
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def log_tail(self) -> list[str]:
        """The last lines of the daemon's log."""
        try:
            with self.log.open(encoding="utf-8", errors="replace") as lines:
                return [line.rstrip("\n") for line in deque(lines, maxlen=LOG_LINES)]
        except FileNotFoundError:
            return []
