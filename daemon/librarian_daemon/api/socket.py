"""The control socket. Only the daemon's user can open it, and may do everything."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from librarian_daemon.runtime import machine


class ControlSocket:
    """Serves an application there."""

    def __init__(self, path: Path, app: web.Application) -> None:
        self._path = path
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def open(self) -> None:
        """Listen.

        Raises:
            ConfigInvalid: something else is there.
        """
        await self._runner.setup()
        await machine.listen(self._runner, self._path)

    async def close(self) -> None:
        """Stop serving. The socket file stays."""
        await self._runner.cleanup()
