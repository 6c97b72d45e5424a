"""Requests that a browser makes on behalf of a page from elsewhere."""

from __future__ import annotations

import pytest
from aiohttp import ClientSession, web

from librarian_daemon.runtime.cross_site import refuse_foreign
from librarian_daemon.runtime.tcp_server import TcpServer, application

CROSS = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
FOLLOWED = CROSS | {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1:PORT"}, 200),
        (FOLLOWED, 200),
        (FOLLOWED | {"Sec-Fetch-Dest": "iframe"}, 403),
        (CROSS, 403),
        (CROSS | {"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
async def test_only_the_address_itself_and_a_followed_link_are_answered(headers: dict[str, str], status: int) -> None:
    """Programs, which say nothing of the kind, are answered as ever."""
    asked: list[str] = []

    async def answered(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(text="the answer")

    app = application(1024)
    app.middlewares.append(refuse_foreign)
    app.add_routes([web.get("/", answered)])
    server = TcpServer(app)
    port = await server.start("127.0.0.1", 0)
    try:
        sent = {key: value.replace("PORT", str(port)) for key, value in headers.items()}
        async with ClientSession() as session, session.get(f"http://127.0.0.1:{port}/", headers=sent) as reply:
            assert reply.status == status
            assert ("the answer" in await reply.text()) == (status == 200)
    finally:
        await server.stop()
    assert asked == ["/"] * (status == 200)
