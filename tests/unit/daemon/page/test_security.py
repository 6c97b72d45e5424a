"""Only who asks for this machine by a name of this machine is answered, and no answer lets anything foreign run."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from librarian_daemon.page import security


async def answered(host: str) -> tuple[int, str, dict[str, str]]:
    """Status, text and headers of the answer to a request with that ``Host``."""

    async def handle(_request: web.Request) -> web.Response:
        return web.Response(text="secret")

    app = web.Application(middlewares=[security.guard])
    app.on_response_prepare.append(security.add_headers)
    app.router.add_get("/", handle)
    async with TestClient(TestServer(app)) as client, client.get("/", headers={"Host": host}) as reply:
        return reply.status, await reply.text(), dict(reply.headers)


@pytest.mark.parametrize("host", ["localhost", "localhost:7480", "127.0.0.1:7480", "[::1]:7480", "[::1]"])
async def test_names_of_this_machine_are_answered(host: str) -> None:
    status, text, _ = await answered(host)
    assert (status, text) == (200, "secret")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:7480", "127.0.0.1.evil.example", "[::1", "10.0.0.1", "localhost.evil.example:80"],
)
async def test_other_names_are_not(host: str) -> None:
    """A foreign name that resolves to this machine (DNS rebinding) reads nothing from the page."""
    status, text, headers = await answered(host)
    assert status == 421
    assert "secret" not in text
    assert "default-src 'none'" in headers["Content-Security-Policy"]


async def test_nothing_foreign_and_nothing_inline_runs() -> None:
    _, _, headers = await answered("localhost")
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert set(policy.values()) <= {"'none'", "'self'"}
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
