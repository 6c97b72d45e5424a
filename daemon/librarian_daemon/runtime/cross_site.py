"""Refuses requests of a browser to this machine's HTTP addresses on behalf of a foreign page.

A page can make the browser send requests to any address that the browser reaches. It cannot read the answers, but each
request costs. Browsers name the page that asks (``Sec-Fetch-Site``, ``Origin``); other programs do not send these.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
#: The page itself, and addresses that a person typed, bookmarked or followed from another program.
_OWN = frozenset({"same-origin", "none"})


def is_foreign(headers: Mapping[str, str]) -> bool:
    """Whether a browser asks on behalf of a page of another address.

    A link that a person follows is not: it only opens in a tab of its own. Another port of this machine is foreign.
    """
    origin = headers.get("Origin")
    if origin is not None and origin.partition("://")[2] != headers.get("Host"):
        return True
    site = headers.get("Sec-Fetch-Site")
    if site is None or site in _OWN:
        return False
    followed = headers.get("Sec-Fetch-Mode") == "navigate" and headers.get("Sec-Fetch-Dest") == "document"
    return not followed


@web.middleware
async def refuse_foreign(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer such a request with 403, before anything is read or counted for it."""
    if is_foreign(request.headers):
        return web.Response(status=403, text="refused: the request is on behalf of a foreign page\n")
    return await handler(request)
