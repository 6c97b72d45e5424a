"""The readers' socket: only what is listed, only so much at once, and its absence holds up nothing."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from librarian_daemon.api.readers import MOST, READABLE, Readers, readable
from librarian_daemon.config.settings import ControlSettings

STATUS = "/api/v1/status"


async def _answered(_: web.Request) -> web.Response:
    return web.Response()


def test_only_what_is_listed_is_readable_and_only_by_get() -> None:
    routes = [
        web.get(STATUS, _answered),
        web.post(STATUS, _answered),
        web.delete("/api/v1/pauses", _answered),
        web.get("/api/v1/bus/config", _answered),
    ]
    assert [(route.method, route.path) for route in readable(routes)] == [("GET", STATUS)]


async def test_what_is_not_reading_is_refused_by_name_and_what_is_too_much_at_once_is_put_off() -> None:
    readers = Readers(ControlSettings(readers="x"))
    begun, over = asyncio.Semaphore(0), asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        begun.release()
        await over.wait()
        return web.Response()

    app = web.Application(middlewares=[readers.guard])
    app.add_routes([web.get(path, slow) for path in sorted(READABLE)])
    async with TestClient(TestServer(app)) as client:
        for method, path in (("POST", STATUS), ("HEAD", STATUS), ("GET", "/api/v1/journal"), ("GET", "/other")):
            answer = await client.request(method, path)
            assert answer.status == 403
        asking = [asyncio.create_task(client.get(STATUS)) for _ in range(MOST)]
        for _ in range(MOST):
            await begun.acquire()
        assert (await client.get(STATUS)).status == 503
        over.set()
        assert {(await answer).status for answer in asking} == {200}
        assert (await client.get(STATUS)).status == 200


@pytest.mark.parametrize(("group", "said"), [("no-such-group", "there is no group"), (str(os.getgid()), "no socket")])
async def test_where_it_cannot_be_opened_nobody_is_let_in_and_the_doctor_says_why(
    tmp_path: Path, group: str, said: str
) -> None:
    place = tmp_path / "read.sock"
    place.write_text("somebody's")
    readers = Readers(ControlSettings(readers=group, read_socket=str(place)))
    await readers.open(web.Application())
    (found,) = readers.checks()
    assert (found.level, said in found.message) == ("error", True)
    await readers.close()
    assert place.read_text() == "somebody's"


async def test_a_directory_that_the_group_may_not_enter_is_told(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o600)
    place = tmp_path / "closed" / "read.sock"
    readers = Readers(ControlSettings(readers=str(os.getgid() or 1), read_socket=str(place)))
    await readers.open(web.Application())
    (found,) = readers.checks()
    assert (found.level, "may not pass through" in found.message) == ("error", True)
    await readers.close()
    assert not place.exists()
    assert Readers(ControlSettings()).checks() == []
