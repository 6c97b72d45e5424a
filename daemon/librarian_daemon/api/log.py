"""The control API's routes about the log."""

from __future__ import annotations

import structlog
from aiohttp import web

from librarian_daemon.runtime.json_http import answer, body_of
from librarian_daemon.runtime.logs import LogLevel
from librarian_protocol import api, wire

_LEVEL = wire.decoder(api.LogLevel)


class LogControl:
    """Showing and changing the level."""

    def __init__(self, level: LogLevel) -> None:
        self._level = level
        self._log = structlog.get_logger("log")

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        return [web.get(f"{api.PREFIX}/log", self._show), web.post(f"{api.PREFIX}/log", self._change)]

    async def _show(self, _request: web.Request) -> web.Response:
        return answer(api.LogLevel(level=self._level.level))

    async def _change(self, request: web.Request) -> web.Response:
        wanted, was = (await body_of(request, _LEVEL)).level, self._level.level
        self._level.level = wanted
        self._log.error("log_level_changed", was=was, now=wanted)  # shown at every level
        return answer(api.LogLevel(level=wanted))
