"""The page's address and routes: status, live changes, search, one file, one incident."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiohttp import ClientConnectionResetError, web

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.incidents import incidents
from librarian_daemon.catalog.status import queries
from librarian_daemon.page import security
from librarian_daemon.page.live import Full, Live
from librarian_daemon.page.rendering import ASSETS, Renderer, asset
from librarian_daemon.page.throughput import SAMPLES, Throughput
from librarian_daemon.ports.time import Clock
from librarian_daemon.runtime import cross_site
from librarian_daemon.runtime.json_http import number_of, status_of, text_of
from librarian_daemon.runtime.tcp_server import ServerLimits, TcpServer, application
from librarian_daemon.status.page_address import PageAddress, begin
from librarian_daemon.status.status import Views
from librarian_protocol import globs
from librarian_protocol.errors import LibrarianError, NotFound

#: Files on one page of a search.
FOUND = 50
#: Interval of keep-alives to browsers, and how long a browser may take to read.
_BEAT_S = 15.0
_PATIENCE_S = 10.0


class StatusPage:
    """A service."""

    def __init__(
        self, *, listen: str, address: PageAddress, catalog: Catalog, views: Views, throughput: Throughput, clock: Clock
    ) -> None:
        self._listen = listen
        self._address = address
        self._catalog = catalog
        self._views = views
        self._throughput = throughput
        self._clock = clock
        self._renderer = Renderer(clock)
        self._live = Live(self._changing, clock)
        self._assets = {name: asset(name) for name in ASSETS}

    async def run(self) -> None:
        """Until cancelled. If the address is taken, everything else works, and it is tried again."""
        if not self._listen:
            return
        server = TcpServer(self.application(), ServerLimits(connections=128, connections_per_ip=128))
        try:
            await begin(server, self._listen, self._address, self._clock, "page")
            async with asyncio.TaskGroup() as group:
                group.create_task(self._throughput.run())
                group.create_task(self._live.run())
        finally:
            self._address.url = ""
            await server.stop()

    def application(self) -> web.Application:
        """The routes; all of them only read."""
        app = application(1024)
        app.middlewares.extend([security.guard, cross_site.refuse_foreign, self._errors])
        app.on_response_prepare.append(security.add_headers)
        app.add_routes(
            [
                web.get("/", self._status),
                web.get("/live", self._stream, allow_head=False),
                web.get("/files", self._files),
                web.get("/file", self._file),
                web.get("/incident", self._incident),
                web.get("/favicon.ico", self._favicon),
                web.get("/assets/{name}", self._asset),
            ]
        )
        return app

    @web.middleware
    async def _errors(self, request: web.Request, handler: security.Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except LibrarianError as exc:
            return self._page("error.html", {"error": exc}, status=status_of(exc))
        except web.HTTPException as exc:
            if exc.status == 405:
                error = LibrarianError("this page is read-only: nothing can be changed by it", hint="use lbctl")
            else:
                error = NotFound(f"there is no page {request.path}", hint="go to the status page")
            return self._page("error.html", {"error": error}, status=exc.status)

    def _page(self, template: str, values: Mapping[str, object], status: int = 200) -> web.Response:
        return web.Response(text=self._renderer.render(template, **values), content_type="text/html", status=status)

    # ---- status ----------------------------------------------------------------------------------------

    async def _status(self, request: web.Request) -> web.Response:
        return self._page("status.html", await self._shown())

    async def _changing(self) -> str:
        return self._renderer.render("_status.html", **await self._shown())

    async def _shown(self) -> dict[str, object]:
        rates = self._throughput.rates
        return {
            "status": await self._views.status(),
            "ingested": [rate.ingested for rate in rates[-SAMPLES:]],
            "received": [rate.received for rate in rates[-SAMPLES:]],
        }

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """``text/event-stream``: the changing part of the page, whenever it changed."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        try:
            with self._live.listening() as queue:
                await response.prepare(request)
                while True:
                    try:
                        async with asyncio.timeout(_BEAT_S):
                            text = await queue.get()
                        told = "".join(f"data: {line}\n" for line in text.split("\n"))
                    except TimeoutError:
                        told = ": nothing new\n"
                    async with asyncio.timeout(_PATIENCE_S):
                        await response.write(f"{told}\n".encode())
        except Full:
            return web.Response(status=503, text="too many browsers show this page\n", headers={"Retry-After": "10"})
        except (ClientConnectionResetError, TimeoutError):  # the tab was closed, or does not read any more
            return response

    # ---- files -----------------------------------------------------------------------------------------

    async def _files(self, request: web.Request) -> web.Response:
        asked = request.query.get("match", "")
        match = globs.check(asked if any(sign in asked for sign in "*?[") else f"**{globs.literal(asked)}**")
        after = request.query.get("after", "")
        page = await self._catalog.read(queries.files, match=match, after=after, limit=FOUND)
        return self._page("files.html", {"asked": asked, "after": after, "page": page})

    async def _file(self, request: web.Request) -> web.Response:
        return self._page("file.html", {"found": await self._views.transfers.name(text_of(request, "name"))})

    # ---- incidents -------------------------------------------------------------------------------------

    async def _incident(self, request: web.Request) -> web.Response:
        number = number_of(request, "id", 0, 1 << 62)
        found = await self._catalog.read(incidents.by_id, number)
        if found is None:
            raise NotFound(f"there is no incident {number}")
        return self._page("incident.html", {"found": found})

    # ---- what does not change --------------------------------------------------------------------------

    async def _favicon(self, request: web.Request) -> web.Response:
        return web.Response(body=self._assets["favicon.svg"], content_type=ASSETS["favicon.svg"])

    async def _asset(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self._assets:
            raise web.HTTPNotFound
        return web.Response(body=self._assets[name], content_type=ASSETS[name], charset="utf-8")
