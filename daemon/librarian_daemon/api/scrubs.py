"""The control API's routes about reading stores again, and frozen stores."""

from __future__ import annotations

from aiohttp import web

from librarian_daemon.api.stores import StoreChoice
from librarian_daemon.integrity.freezing import Freezing
from librarian_daemon.integrity.scrubber import Scrubber
from librarian_daemon.runtime.json_http import answer, body_of
from librarian_daemon.status.status import Views
from librarian_protocol import api, wire
from librarian_protocol.errors import NotPossible

_RUN = wire.decoder(api.ScrubRun)
_THAW = wire.decoder(api.StoreThaw)


class ScrubControl:
    """Routes: how it stands, read now, thaw a store."""

    def __init__(self, views: Views, scrubber: Scrubber, freezing: Freezing, choice: StoreChoice) -> None:
        self._views = views
        self._scrubber = scrubber
        self._freezing = freezing
        self._choice = choice

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        return [
            web.get(f"{api.PREFIX}/scrub", self._show),
            web.post(f"{api.PREFIX}/scrub/run", self._run),
            web.post(f"{api.PREFIX}/store/thaw", self._thaw),
        ]

    async def _show(self, _request: web.Request) -> web.Response:
        return answer(await self._views.scrubs())

    async def _run(self, request: web.Request) -> web.Response:
        body = await body_of(request, _RUN)
        stores = self._choice.of([body.store]) if body.store else self._choice.every()
        for store in stores:
            await self._scrubber.ask(store.id)
        asked = {store.id for store in stores}
        return answer([status for status in await self._views.scrubs() if status.store in asked])

    async def _thaw(self, request: web.Request) -> web.Response:
        body = await body_of(request, _THAW)
        (store,) = self._choice.of([body.store])[:1]
        if not await self._freezing.thaw(store.id, body.reason):
            raise NotPossible(f"store {store.label!r} is not frozen", hint="`lbctl scrub status` shows which are")
        return answer([status for status in await self._views.scrubs() if status.store == store.id])
