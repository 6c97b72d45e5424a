"""A nats-server as an operator would run it, which a test can stop and start again."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.support.sites import free_port

from librarian_adapters import child_process
from librarian_daemon.bus.server import find_executable

_TIMEOUT_S = 15.0


class NatsServer:
    """One server on one directory and port."""

    def __init__(self, root: Path, port: int) -> None:
        root.mkdir(parents=True)
        self._root = root
        self.monitor_url = f"http://127.0.0.1:{free_port()}"
        self.url = f"nats://lb:secret@127.0.0.1:{port}"
        self._port = port
        self._config = root / "nats.conf"
        self.configure(sync="always")
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, sync: str) -> None:
        """With this sync_interval from its next start on."""
        self._config.write_text(
            f'listen: "127.0.0.1:{self._port}"\nhttp: "{self.monitor_url.removeprefix("http://")}"\n'
            f'log_file: "{self._root}/log"\nmax_payload: 1MB\n'
            f'jetstream {{ store_dir: "{self._root}/js", sync_interval: {sync}, max_file: 16TB }}\n'
            "authorization { user: lb, password: secret }\n"
        )

    def start(self) -> None:
        """Start it and wait until it answers."""
        executable = find_executable()
        assert executable is not None
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", child_process.__file__, str(os.getpid()), executable, "-c", str(self._config)]
        )
        end = time.monotonic() + _TIMEOUT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
            except OSError:
                assert time.monotonic() < end, "nats-server does not start"
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        """``kill -9``; idempotent."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@contextmanager
def nats_server(root: Path, port: int) -> Generator[NatsServer]:
    """One that runs, and does not outlive the block."""
    server = NatsServer(root, port)
    try:
        server.start()
        yield server
    finally:
        server.kill()
