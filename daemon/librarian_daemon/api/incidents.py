"""The control API's routes about incidents."""

from __future__ import annotations

import structlog
from aiohttp import web

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.incidents import incidents
from librarian_daemon.runtime.json_http import answer, body_of, limit_of, number_of
from librarian_protocol import api, wire
from librarian_protocol.errors import ArgumentInvalid, NotFound
from librarian_protocol.incidents import State

MAX_PAGE = 1000
_ACKNOWLEDGE = wire.decoder(api.Acknowledge)
_ACKNOWLEDGE_MANY = wire.decoder(api.AcknowledgeMany)


class IncidentControl:
    """Listing, showing and acknowledging."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._log = structlog.get_logger("incidents")

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        return [
            web.get(f"{api.PREFIX}/incidents", self._list),
            web.get(f"{api.PREFIX}/incident", self._show),
            web.post(f"{api.PREFIX}/incident/ack", self._acknowledge),
            web.post(f"{api.PREFIX}/incidents/ack", self._acknowledge_many),
        ]

    async def _list(self, request: web.Request) -> web.Response:
        text = request.query.get("state")
        if text is not None and text not in list(State):
            raise ArgumentInvalid(f"state {text!r} is not one of {', '.join(State)}")
        limit = limit_of(request, 100, MAX_PAGE)
        page = await self._catalog.read(
            incidents.page_of,
            state=State(text) if text else None,
            code=request.query.get("code"),
            before=number_of(request, "after", 0, 1 << 62) or None,
            limit=limit,
        )
        return answer(api.IncidentPage(incidents=page, next=page[-1].id if len(page) == limit else None))

    async def _show(self, request: web.Request) -> web.Response:
        return answer(await self._one(number_of(request, "id", 0, 1 << 62)))

    async def _acknowledge(self, request: web.Request) -> web.Response:
        number = number_of(request, "id", 0, 1 << 62)
        body = await body_of(request, _ACKNOWLEDGE)
        if await self._catalog.write(incidents.acknowledge, number, body.note[:1024]):
            self._log.info("incident_acknowledged", incident=number, note=body.note[:1024])
        return answer(await self._one(number))

    async def _acknowledge_many(self, request: web.Request) -> web.Response:
        body = await body_of(request, _ACKNOWLEDGE_MANY)
        if bool(body.code) == body.all:
            raise ArgumentInvalid("say which: a code, or all", hint="`lbctl incident ack --code CODE`, or `--all`")
        seen = await self._catalog.write(incidents.acknowledge_many, body.code or None, body.note[:1024])
        self._log.info("incidents_acknowledged", code=body.code, incidents=seen, note=body.note[:1024])
        return answer(api.Acknowledged(incidents=seen))

    async def _one(self, number: int) -> api.Incident:
        found = await self._catalog.read(incidents.by_id, number)
        if found is None:
            raise NotFound(f"there is no incident {number}", hint="`lbctl incident list`")
        return found
