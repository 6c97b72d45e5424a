"""The control API's routes about channels."""

from __future__ import annotations

from aiohttp import web

from librarian_daemon.incidents.notifications import Notifications
from librarian_daemon.runtime.json_http import answer
from librarian_protocol import api


class NotifyControl:
    """Listing and trying."""

    def __init__(self, notifications: Notifications) -> None:
        self._notifications = notifications

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        return [
            web.get(f"{api.PREFIX}/channels", self._list),
            web.post(f"{api.PREFIX}/channels/test", self._test),
        ]

    async def _list(self, _request: web.Request) -> web.Response:
        return answer(self._notifications.channels())

    async def _test(self, request: web.Request) -> web.Response:
        return answer(await self._notifications.test(request.query.get("label", "")))
