"""Reports the daemon's state to the service manager: systemd's notification protocol, over one datagram socket.

``READY=1`` comes when stores and bus are usable, not before; ``WATCHDOG=1`` while the event loop runs; ``STATUS=`` in
plain words. If no service manager listens (``NOTIFY_SOCKET`` is not set), nothing is done.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping

import structlog

from librarian_daemon.ports.time import Clock

_LOOK_EVERY_S = 1.0
_STATUS_EVERY_S = 10.0


class ServiceManager:
    """Service. ``missing`` says what stops the daemon from working, by part; empty when it is ready."""

    def __init__(
        self, clock: Clock, missing: Callable[[], Awaitable[dict[str, str]]], environ: Mapping[str, str] | None = None
    ) -> None:
        environ = os.environ if environ is None else environ
        self._clock = clock
        self._missing = missing
        self._address = environ.get("NOTIFY_SOCKET", "")
        #: Half of the manager's time-out, as it recommends.
        self._watchdog_s = int(environ.get("WATCHDOG_USEC", "0")) / 2_000_000
        self._log = structlog.get_logger("systemd")

    async def run(self) -> None:
        """Until cancelled."""
        if not self._address:
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tell_status())
            if self._watchdog_s:
                group.create_task(self._tell_alive())

    async def _tell_alive(self) -> None:
        """Independent of stores and catalog: if one hangs, the status reports it, and the daemon must not be killed."""
        while True:
            self._send(["WATCHDOG=1"])
            await self._clock.sleep(min(_LOOK_EVERY_S, self._watchdog_s))

    async def _tell_status(self) -> None:
        ready, told = False, ""
        while True:
            missing = await self._missing()
            status = "; ".join(f"{part}: {why}" for part, why in sorted(missing.items())) or "all is well"
            lines: list[str] = []
            if not ready and not missing:
                ready = True
                lines.append("READY=1")
            if status != told:
                lines.append(f"STATUS={status[:500]}".replace("\n", " "))
                told = status
            self._send(lines)
            await self._clock.sleep(_STATUS_EVERY_S if ready else _LOOK_EVERY_S)

    def stopping(self) -> None:
        """Tell the manager that the daemon ends."""
        if self._address:
            self._send(["STOPPING=1"])

    def _send(self, lines: list[str]) -> None:
        if not lines:
            return
        # An address that begins with '@' is an abstract one.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.sendto("\n".join(lines).encode(), address)
        except OSError as exc:
            self._log.debug("not_notified", error=str(exc))
