"""Protects a page on loopback from other pages in the same browser: who may ask, and what may run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from librarian_protocol.loopback import is_loopback

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse requests that were made under another host's name: a foreign page whose name resolves to this address (DNS
    rebinding).
    """
    host = request.headers.get("Host", "")
    name = host[: host.index("]") + 1] if host.startswith("[") and "]" in host else host.partition(":")[0]
    if not is_loopback(name):
        return web.Response(status=421, text="this page is for this machine only: use localhost\n", headers=HEADERS)
    return await handler(request)


async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Put them on every answer, just before it is sent."""
    response.headers.update(HEADERS)
