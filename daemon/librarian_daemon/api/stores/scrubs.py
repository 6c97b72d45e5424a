"""The control API's routes about reading again: this site's stores, frozen ones, and what every holder holds."""

from __future__ import annotations

from aiohttp import web

from librarian_daemon.api.stores.control import StoreChoice
from librarian_daemon.integrity.answering import Answering
from librarian_daemon.integrity.asking import Asking
from librarian_daemon.integrity.freezing import Freezing
from librarian_daemon.integrity.scrubber import Scrubber
from librarian_daemon.mesh.presences import Presences
from librarian_daemon.runtime.json_http import answer, body_of, text_of
from librarian_daemon.status.status import Views
from librarian_protocol import api, globs, wire
from librarian_protocol.errors import NotPossible

_RUN = wire.decoder(api.ScrubRun)
_THAW = wire.decoder(api.StoreThaw)
_ASKED = wire.decoder(api.VerifyEverywhere)


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
        stores = await self._choice.of([body.store]) if body.store else self._choice.every()
        for store in stores:
            await self._scrubber.ask(store.id)
        asked = {store.id for store in stores}
        return answer([status for status in await self._views.scrubs() if status.store in asked])

    async def _thaw(self, request: web.Request) -> web.Response:
        body = await body_of(request, _THAW)
        store = (await self._choice.of([body.store]))[0]
        if not await self._freezing.thaw(store.id, body.reason):
            raise NotPossible(f"store {store.label!r} is not frozen", hint="`lbctl scrub status` shows which are")
        return answer([status for status in await self._views.scrubs() if status.store == store.id])


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
