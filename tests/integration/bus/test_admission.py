"""Who is let in: nobody without a key of the roster; an invited user only to ask."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest
from tests.integration.bus.intruder import intruder, is_refused, url
from tests.integration.bus.sites import A, B, C, Site, eventually, insist, shared, users

from librarian_daemon.bus.keys import new_user
from librarian_daemon.config.settings import BusSettings
from librarian_daemon.runtime.clock import SystemRng
from librarian_protocol.errors import BusUnavailable, ConfigInvalid, NotPossible


async def test_a_stranger_is_refused(tmp_path: Path) -> None:
    async with shared(tmp_path) as (a,):
        assert await is_refused(url(a))
        assert await is_refused(url(a), user="a", password="a")
        assert await is_refused(url(a), nkeys_seed_str=new_user(SystemRng()).seed)


async def test_an_invited_user_can_do_nothing_but_ask_to_join(tmp_path: Path) -> None:
    async with shared(tmp_path, B) as (a, b):
        credential = await a.bus.invite_credential()
        seed, public = credential.seed, credential.public
        assert seed is not None
        assert public is not None
        assert await is_refused(url(a), nkeys_seed_str=seed)  # not before the roster names it
        await a.bus.set_roster(users(a, b), [public])
        await insist(lambda: a.bus.ask_to_join(credential, A, b""), BusUnavailable)  # the server has reloaded
        async with intruder(url(a), nkeys_seed_str=seed) as guest:
            for subject in (">", "lb.>", "lb.join.a", "lb.inbox.a.>", "_INBOX.>", "lb.a.>", "$SYS.>"):
                await guest.listen(subject)
            assert await guest.is_denied(7)
            for subject in ("lb.join.b-1", "lb.a.x.y", "lb.pull.a.b-1", "$JS.API.INFO", "lb.inbox.a.b-1.x"):
                await guest.send(subject)
            assert await guest.is_denied(5)
            await guest.send("lb.join.a")
            assert await guest.is_denied(0)


async def test_a_newcomer_asks_and_is_let_in(tmp_path: Path) -> None:
    async with shared(tmp_path) as (a,):
        credential = await a.bus.invite_credential()
        where, public = credential.url, credential.public
        assert public is not None
        await a.bus.set_roster(users(a), [public])
        newcomer = Site(C, tmp_path / C, BusSettings(mode="join"))
        newcomer.start()
        try:
            await eventually(lambda: newcomer.bus.state().detail == "no bus yet: join a mesh")
            await newcomer.bus.use(where, external=False)
            await eventually(lambda: "not admitted" in newcomer.bus.state().detail)
            async with asyncio.timeout(10), aclosing(a.bus.joins()) as joins:
                asked = asyncio.ensure_future(anext(joins))
                while not asked.done():  # a request that nobody heard yet is sent again
                    await insist(lambda: newcomer.bus.ask_to_join(credential, A, b"let me in"), BusUnavailable)
                    await asyncio.wait({asked}, timeout=0.1)
                assert await asked == b"let me in"
            await a.bus.set_roster(users(a, newcomer), [])
            await eventually(lambda: newcomer.bus.state().connected)
            with pytest.raises(BusUnavailable):
                await newcomer.bus.ask_to_join(credential, A, b"once more")
        finally:
            await newcomer.stop()


async def test_join_requests_wait_in_a_bounded_queue(tmp_path: Path) -> None:
    async with shared(tmp_path) as (a,):
        credential = await a.bus.invite_credential()
        where, seed, public = credential.url, credential.seed, credential.public
        assert public is not None
        assert seed is not None
        await a.bus.set_roster(users(a), [public])
        async with asyncio.timeout(20), aclosing(a.bus.joins()) as joins:
            first = asyncio.ensure_future(anext(joins))
            while not first.done():
                await insist(lambda: a.bus.ask_to_join(credential, A, b"first"), BusUnavailable)
                await asyncio.wait({first}, timeout=0.1)
            async with intruder(where, nkeys_seed_str=seed) as guest:
                for number in range(1000):
                    await guest.client.publish("lb.join.a", str(number).encode())
                await guest.client.flush()
            await asyncio.sleep(0.2)
            count = 0
            while True:
                try:
                    async with asyncio.timeout(0.3):
                        await anext(joins)
                except (TimeoutError, StopAsyncIteration):
                    break
                count += 1
            assert 0 < count <= 64


async def test_a_guest_hears_no_join_requests_and_cannot_invite(tmp_path: Path) -> None:
    async with shared(tmp_path, B) as (_, b):
        with pytest.raises(NotPossible, match="does not host"):
            await b.bus.invite_credential()
        asked = asyncio.ensure_future(anext(b.bus.joins()))
        await asyncio.wait({asked}, timeout=0.2)
        assert not asked.done()
        assert b.bus.state().connected
        asked.cancel()


async def test_a_token_never_names_an_address_that_nobody_can_reach(tmp_path: Path) -> None:
    everywhere = BusSettings(listen="0.0.0.0:0")
    with pytest.raises(ConfigInvalid, match="by which no other site"):
        await Site(A, tmp_path / A, everywhere).bus.invite_credential()
    named = BusSettings(listen="0.0.0.0:0", advertise="hub.example:4222")
    assert (await Site(A, tmp_path / A, named).bus.invite_credential()).url == "nats://hub.example:4222"
