"""The control API's routes about stores."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from librarian_daemon.integrity.store_marker import StoreMarker
from librarian_daemon.mesh.declarations import Declarations
from librarian_daemon.ports.store import Store
from librarian_daemon.runtime.json_http import answer, body_of
from librarian_daemon.status.status import Views
from librarian_protocol import api, wire
from librarian_protocol.errors import ArgumentInvalid, NotPossible

_MARK = wire.decoder(api.StoreMark)
_RETIRE = wire.decoder(api.StoreRetire)


class StoreChoice:
    """Finds the store that a person means."""

    def __init__(self, stores: Sequence[Store], ingestable: Sequence[Store]) -> None:
        self._stores = stores
        self._ingestable = ingestable

    def of(self, wanted: Sequence[str]) -> list[Store]:
        """The stores of an id or label; without one, those that are ingestable.

        Raises:
            NotPossible: none is.
            ArgumentInvalid: this site has no such store.
        """
        if not wanted:
            if not self._ingestable:
                raise NotPossible("no store of this site is ingestable", hint="set `ingestable = true` for one of them")
            return list(self._ingestable)[:16]
        chosen: list[Store] = []
        for text in wanted:
            found = [store for store in self._stores if text in {store.id, store.label}]
            if not found:
                known = ", ".join(store.label for store in self._stores)
                raise ArgumentInvalid(f"there is no store {text!r} at this site", hint=f"there are: {known}")
            chosen += found
        return chosen

    def every(self) -> list[Store]:
        """All of them."""
        return list(self._stores)


class StoreControl:
    """Routes: list the stores, restore a store's marker, retire a store."""

    def __init__(self, views: Views, marker: StoreMarker, declarations: Declarations) -> None:
        self._views = views
        self._marker = marker
        self._declarations = declarations

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        return [
            web.get(f"{api.PREFIX}/stores", self._list),
            web.post(f"{api.PREFIX}/store/mark", self._mark),
            web.post(f"{api.PREFIX}/store/retire", self._retire),
        ]

    async def _list(self, _request: web.Request) -> web.Response:
        return answer(await self._views.stores())

    async def _mark(self, request: web.Request) -> web.Response:
        body = await body_of(request, _MARK)
        return answer(await self._marker.mark(body.path, body.store))

    async def _retire(self, request: web.Request) -> web.Response:
        body = await body_of(request, _RETIRE)
        return answer(await self._declarations.retire(body.store, lost=body.lost))
