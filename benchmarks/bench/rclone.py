"""rclone as a peer: it serves a directory over http, and copies from there in four streams. It verifies nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.bench.peer_server import listening
from benchmarks.bench.processes import cpu_seconds, own_children_cpu_seconds
from benchmarks.bench.row import Turn
from tests.support.sites import free_port

#: Without a configuration of the user who runs it.
_ENVIRON = {"RCLONE_CONFIG": "/dev/null"}
_STREAMS = ["--multi-thread-streams", "4", "--multi-thread-cutoff", "1M"]


def why_absent() -> str:
    """Empty where it is installed."""
    return "" if shutil.which("rclone") else "rclone is not installed"


class Rclone:
    """A running server. Made by :func:`rclone_server`."""

    def __init__(self, port: int, pid: int) -> None:
        self._port = port
        self._pid = pid

    def copy(self, name: str, destination: Path, amount: float) -> Turn:
        """Copy one file to where none is."""
        before = own_children_cpu_seconds(), cpu_seconds(self._pid)
        began = time.monotonic()
        url = f"http://127.0.0.1:{self._port}"
        command = ["rclone", "copyto", f":http:{name}", str(destination), "--http-url", url, *_STREAMS]
        subprocess.run(command, check=True, env=os.environ | _ENVIRON, stderr=subprocess.DEVNULL)
        seconds = time.monotonic() - began
        used = {
            "client": own_children_cpu_seconds() - before[0],
            "server": cpu_seconds(self._pid) - before[1],
        }
        return Turn(seconds=seconds, amount=amount, cpu_seconds=used)


@asynccontextmanager
async def rclone_server(serves: Path) -> AsyncGenerator[Rclone]:
    """One that serves a directory over plain http."""
    port = free_port()
    command = ["rclone", "serve", "http", str(serves), "--addr", f"127.0.0.1:{port}", "--read-only"]
    command += ["--dir-cache-time", "0s"]  # files are new in each turn
    async with listening(command, port, environ=os.environ | _ENVIRON) as server:
        yield Rclone(port, server.pid)
