"""The control API, ``/api/v1``: what ``lbctl`` asks, on the unix socket only (docs/architecture.md).

Every user who can open the socket may do everything: it belongs to the daemon's user. Readers have another one
(``readers.py``). Each noun has a module with its routes. This module puts them together and turns errors into answers.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

from librarian_daemon.api.readers import readable
from librarian_daemon.runtime.json_http import refusal
from librarian_daemon.runtime.machine import Handler
from librarian_protocol.errors import ArgumentInvalid, LibrarianError, NotFound


class Control:
    """The applications of the two sockets, from the same routes."""

    def __init__(self, routes: Sequence[web.RouteDef]) -> None:
        self._routes = routes
        self._log = structlog.get_logger("control")

    def application(self) -> web.Application:
        """The application to serve on the socket."""
        # One body holds a page of segments.
        app = web.Application(middlewares=[self._errors], client_max_size=64 << 20)
        app.add_routes(self._routes)
        return app

    def reading(self, guard: Middleware) -> web.Application:
        """The application of the readers' socket."""
        app = web.Application(middlewares=[guard, self._errors], client_max_size=1 << 10)
        app.add_routes(readable(self._routes))
        return app

    @web.middleware
    async def _errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._log.debug("asked", method=request.method, path=request.path)
        try:
            return await handler(request)
        except LibrarianError as exc:
            return refusal(exc)
        except web.HTTPException as exc:
            missing = NotFound(
                f"{request.method} {request.path} is not in this API", hint="compare lbctl's version with lbd's"
            )
            return refusal(missing) if exc.status in {404, 405} else refusal(ArgumentInvalid(exc.reason))
