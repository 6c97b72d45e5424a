"""rsync as a peer: a daemon that serves a directory, and a client that copies from it over the loopback interface."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.bench.peer_server import listening
from benchmarks.bench.processes import cpu_seconds, own_children_cpu_seconds, wait_for_children
from benchmarks.bench.row import Turn
from tests.support.sites import free_port


def why_absent() -> str:
    """Empty where it is installed and knows ``--fsync``."""
    if shutil.which("rsync") is None:
        return "rsync is not installed"
    done = subprocess.run(["rsync", "--help"], capture_output=True, text=True)
    return "" if "--fsync" in done.stdout else "this rsync has no --fsync (3.2.4 and later have)"


def version() -> str:
    """Such as ``rsync 3.2.7``."""
    return " ".join(subprocess.run(["rsync", "--version"], capture_output=True, text=True).stdout.split()[0:3:2])


class Rsync:
    """A running daemon. Made by :func:`rsync_daemon`."""

    def __init__(self, port: int, pid: int) -> None:
        self._port = port
        self._pid = pid

    def copy(self, path: str, destination: Path, options: Sequence[str], amount: float) -> Turn:
        """Copy ``path`` below the served directory to what is not there yet."""
        before = own_children_cpu_seconds(), cpu_seconds(self._pid)
        began = time.monotonic()
        source = f"rsync://127.0.0.1:{self._port}/served/{path}"
        subprocess.run(["rsync", *options, source, str(destination)], check=True)
        seconds = time.monotonic() - began
        wait_for_children(self._pid)  # one serves each connection
        return Turn(
            seconds=seconds,
            amount=amount,
            cpu_seconds={
                "client": own_children_cpu_seconds() - before[0],
                "daemon": cpu_seconds(self._pid) - before[1],
            },
        )


@asynccontextmanager
async def rsync_daemon(serves: Path, root: Path) -> AsyncGenerator[Rsync]:
    """One that serves a directory; ``root`` is for its configuration."""
    root.mkdir()
    port = free_port()
    config = root / "rsyncd.conf"
    as_root = "uid = 0\ngid = 0\n" if os.geteuid() == 0 else ""
    config.write_text(f"[served]\npath = {serves}\nuse chroot = no\nread only = yes\n{as_root}")
    command = ["rsync", "--daemon", "--no-detach", f"--config={config}", f"--port={port}", "--address=127.0.0.1"]
    async with listening([*command, f"--log-file={root / 'rsyncd.log'}"], port) as daemon:
        yield Rsync(port, daemon.pid)
