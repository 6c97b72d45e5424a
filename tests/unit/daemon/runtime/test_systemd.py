"""What the service manager is told."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from librarian_daemon.runtime.clock import SystemClock
from librarian_daemon.runtime.systemd import ServiceManager


async def test_a_part_that_never_answers_does_not_have_the_daemon_killed(tmp_path: Path) -> None:
    """Its status hangs; that the event loop turns is told all the same."""
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.setblocking(False)

        async def never() -> dict[str, str]:
            await asyncio.Event().wait()
            raise AssertionError

        service = ServiceManager(SystemClock(), never, {"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": str(20_000)})
        task = asyncio.create_task(service.run())
        try:
            loop = asyncio.get_running_loop()
            for _ in range(3):
                assert await asyncio.wait_for(loop.sock_recv(manager, 1000), 60) == b"WATCHDOG=1"
        finally:
            task.cancel()
            await asyncio.wait([task])
