"""The metrics server for Prometheus. It has its own address, since metrics name peers, stores and delays."""

from __future__ import annotations

import asyncio

import structlog
from aiohttp import web

from librarian_daemon.page import security
from librarian_daemon.ports.time import Clock
from librarian_daemon.runtime import cross_site
from librarian_daemon.runtime.tcp_server import ServerLimits, TcpServer, application
from librarian_daemon.status.page_address import PageAddress, begin
from librarian_daemon.status.scrape import Scraper
from librarian_protocol.errors import LibrarianError
from librarian_protocol.host_port import parse
from librarian_protocol.loopback import is_loopback

_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class MetricsServer:
    """A service."""

    def __init__(self, *, listen: str, address: PageAddress, scraper: Scraper, clock: Clock) -> None:
        self._listen = listen
        self._address = address
        self._scraper = scraper
        self._clock = clock
        self._log = structlog.get_logger("metrics")

    async def run(self) -> None:
        """Until cancelled. If the address is taken, everything else works, and it is tried again."""
        if not self._listen:
            return
        app = application(1024)
        app.middlewares.append(cross_site.refuse_foreign)
        if is_loopback(parse(self._listen)[0]):
            app.middlewares.append(security.guard)  # no foreign page in a browser on this machine
        app.add_routes([web.get("/metrics", self._metrics)])
        server = TcpServer(app, ServerLimits(connections=32, connections_per_ip=32))
        try:
            await begin(server, self._listen, self._address, self._clock, "metrics")
            await asyncio.Event().wait()
        finally:
            self._address.url = ""
            await server.stop()

    async def _metrics(self, _request: web.Request) -> web.Response:
        try:
            text = await self._scraper.scrape()
        except LibrarianError as exc:
            self._log.error("not_scraped", sparingly=True, error=exc.message)
            return web.Response(status=503, text="the metrics cannot be read now; the log says why\n")
        return web.Response(body=text, headers={"Content-Type": _TYPE})
