"""The control API's routes that ask every holder how its instances stand."""

from __future__ import annotations

from aiohttp import web

from librarian_daemon.integrity.answering import Answering
from librarian_daemon.integrity.asking import Asking
from librarian_daemon.mesh.presences import Presences
from librarian_daemon.runtime.json_http import answer, body_of, text_of
from librarian_protocol import api, globs, wire

_ASKED = wire.decoder(api.VerifyEverywhere)


class VerifyControl:
    """Routes: ask, and see what was answered."""

    def __init__(self, asking: Asking, answering: Answering, presences: Presences) -> None:
        self._asking = asking
        self._answering = answering
        self._presences = presences

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        return [
            web.post(f"{api.PREFIX}/file/verify/everywhere", self._ask),
            web.get(f"{api.PREFIX}/file/verify/everywhere", self._show),
        ]

    async def _ask(self, request: web.Request) -> web.Response:
        body = await body_of(request, _ASKED)
        inquiry = await self._asking.begin(globs.check(body.match), self._answering, fresh=body.fresh)
        return await self._view(inquiry)

    async def _show(self, request: web.Request) -> web.Response:
        return await self._view(text_of(request, "inquiry"))

    async def _view(self, inquiry: str) -> web.Response:
        return answer(await self._asking.view(inquiry, self._answering, await self._presences.away()))
