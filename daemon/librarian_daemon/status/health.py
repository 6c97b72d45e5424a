"""Whether the site is alive and ready: served to anybody at its data address."""

from __future__ import annotations

from aiohttp import web

from librarian_daemon.runtime import cross_site
from librarian_daemon.status.status import Views


def with_health(app: web.Application, routes: list[web.RouteDef], views: Views) -> web.Application:
    """The data plane's application: these routes, and whether the site is alive and ready; anybody may ask."""
    app.middlewares.append(cross_site.refuse_foreign)
    app.add_routes(routes)

    async def alive(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_request: web.Request) -> web.Response:
        missing = await views.readiness()
        lines = [f"not ready: {part}" for part in missing] or ["ok"]  # the reason names paths: not for strangers
        return web.Response(status=503 if missing else 200, text="\n".join(lines) + "\n")

    app.add_routes([web.get("/livez", alive), web.get("/readyz", ready)])
    return app
