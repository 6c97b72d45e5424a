"""Servers of peers that a bench starts on the loopback interface."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

#: A server that does not listen by then does not start.
START_S = 30.0


@asynccontextmanager
async def listening(
    command: Sequence[str], port: int, *, environ: Mapping[str, str] | None = None
) -> AsyncGenerator[subprocess.Popen[bytes]]:
    """It runs, and listens on that port of 127.0.0.1; what it says is dropped, and it ends with the block.

    Raises ``RuntimeError`` where it ends at once or does not listen.
    """
    server = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environ
    )
    try:
        end = time.monotonic() + START_S
        while not _answers(port):
            if server.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{command[0]} does not listen on port {port}: {' '.join(command)}")
            await asyncio.sleep(0.02)
        yield server
    finally:
        server.terminate()
        server.wait()


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
