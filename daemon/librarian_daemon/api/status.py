"""The control API's routes about the whole site: status and doctor."""

from __future__ import annotations

from aiohttp import web

from librarian_daemon.runtime.json_http import answer
from librarian_daemon.status.doctor import Doctor
from librarian_daemon.status.status import Views
from librarian_protocol import api


class StatusControl:
    """Two routes."""

    def __init__(self, views: Views, doctor: Doctor) -> None:
        self._views = views
        self._doctor = doctor

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        return [web.get(f"{api.PREFIX}/status", self._status), web.get(f"{api.PREFIX}/doctor", self._examine)]

    async def _status(self, _request: web.Request) -> web.Response:
        return answer(await self._views.status())

    async def _examine(self, _request: web.Request) -> web.Response:
        return answer(await self._doctor.examine())
