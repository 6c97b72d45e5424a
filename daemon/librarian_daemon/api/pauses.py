"""The control API's routes about pauses for maintenance."""

from __future__ import annotations

from collections.abc import Callable, Collection

from aiohttp import web

from librarian_daemon.ports.time import Clock
from librarian_daemon.runtime.json_http import answer, body_of, text_of
from librarian_daemon.transfers.pauses import Pauses, shown
from librarian_protocol import api, pausing, wire
from librarian_protocol.errors import NotFound
from librarian_protocol.names import SiteName

_BODY = wire.decoder(api.PauseSet)


class PauseControl:
    """Three routes."""

    def __init__(self, pauses: Pauses, clock: Clock, peers: Callable[[], Collection[SiteName]]) -> None:
        """``peers`` are the other sites of the roster."""
        self._pauses = pauses
        self._clock = clock
        self._peers = peers

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        path = f"{api.PREFIX}/pauses"
        return [web.get(path, self._list), web.post(path, self._begin), web.delete(path, self._end)]

    async def _list(self, request: web.Request) -> web.Response:
        return answer(shown(self._pauses.in_force(), self._clock))

    async def _begin(self, request: web.Request) -> web.Response:
        body = await body_of(request, _BODY)
        pause = pausing.made(body.what, reason=body.reason, by=body.by, seconds=body.for_s, now=self._clock.unix_s())
        peer = pausing.peer_of(pause.what)
        if peer is not None and peer not in self._peers():
            known = ", ".join(sorted(self._peers()))
            raise NotFound(f"{peer!r} is no other site of this mesh", hint=f"there are: {known or 'none'}")
        await self._pauses.begin(pause)
        return answer(shown([pause], self._clock)[0])

    async def _end(self, request: web.Request) -> web.Response:
        what = pausing.what_of(text_of(request, "what"))
        ended = await self._pauses.end(what)
        if ended is None:
            paused = ", ".join(pause.what for pause in self._pauses.in_force())
            raise NotFound(f"{what} is not paused", hint=f"paused are: {paused}" if paused else "nothing is paused")
        return answer(shown([ended], self._clock)[0])
