"""The control API's routes about stores."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.stores import attached
from librarian_daemon.integrity.store_marker import StoreMarker
from librarian_daemon.mesh.attachments import Attachments
from librarian_daemon.ports.store import Store
from librarian_daemon.runtime.json_http import answer, body_of, text_of
from librarian_daemon.status.status import Views
from librarian_protocol import api, wire
from librarian_protocol.errors import ArgumentInvalid, NotPossible
from librarian_protocol.store_settings import StoreOverrides

_MARK = wire.decoder(api.StoreMark)
_RETIRE = wire.decoder(api.StoreRetire)
_SET = wire.decoder(api.StoreSet)
_UNSET = wire.decoder(api.StoreUnset)
_ADD = wire.decoder(api.StoreAdd)


class StoreChoice:
    """Finds the store that a person means."""

    def __init__(self, stores: Sequence[Store], catalog: Catalog) -> None:
        self._stores = stores
        self._catalog = catalog

    async def of(self, wanted: Sequence[str]) -> list[Store]:
        """The stores of an id or label; without one, those that are ingestable.

        Raises:
            NotPossible: none is.
            ArgumentInvalid: this site has no such store.
        """
        if not wanted:
            closed = {store.id for store in await self._catalog.read(attached.attached) if not store.values.ingestable}
            ingestable = [store for store in self._stores if store.id not in closed]
            if not ingestable:
                raise NotPossible(
                    "no store of this site is ingestable", hint="`lbctl store set LABEL --ingestable --reason TEXT`"
                )
            return ingestable[:16]
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
    """Routes: list the stores; show, set, add and retire one; restore one's marker."""

    def __init__(self, views: Views, marker: StoreMarker, attachments: Attachments) -> None:
        self._views = views
        self._marker = marker
        self._attachments = attachments

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        return [
            web.get(f"{api.PREFIX}/stores", self._list),
            web.get(f"{api.PREFIX}/store", self._show),
            web.post(f"{api.PREFIX}/store/set", self._set),
            web.post(f"{api.PREFIX}/store/unset", self._unset),
            web.post(f"{api.PREFIX}/store/add", self._add),
            web.post(f"{api.PREFIX}/store/mark", self._mark),
            web.post(f"{api.PREFIX}/store/retire", self._retire),
        ]

    async def _list(self, _request: web.Request) -> web.Response:
        return answer(await self._views.stores())

    async def _show(self, request: web.Request) -> web.Response:
        return answer(await self._attachments.show(text_of(request, "store")))

    async def _set(self, request: web.Request) -> web.Response:
        body = await body_of(request, _SET)
        overrides = StoreOverrides(
            active=body.active, ingestable=body.ingestable, priority=body.priority, reserve=body.reserve
        )
        return answer(await self._attachments.set(body.store, overrides, body.reason))

    async def _unset(self, request: web.Request) -> web.Response:
        return answer(await self._attachments.unset((await body_of(request, _UNSET)).store))

    async def _add(self, request: web.Request) -> web.Response:
        body = await body_of(request, _ADD)
        return answer(await self._attachments.add(body.path, body.label, body.role))

    async def _mark(self, request: web.Request) -> web.Response:
        body = await body_of(request, _MARK)
        return answer(await self._marker.mark(body.path, body.store))

    async def _retire(self, request: web.Request) -> web.Response:
        body = await body_of(request, _RETIRE)
        return answer(await self._attachments.retire(body.store, lost=body.lost))
