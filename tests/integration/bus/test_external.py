"""An external server, by URL: one account, JetStream's own names, and a warning about what we cannot see."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest
from tests.integration.bus.intruder import intruder
from tests.integration.bus.plain import plain_server
from tests.integration.bus.sites import A, B, Site, eventually, insist, numbers, readers, take, users

from librarian_daemon.config.settings import BusSettings
from librarian_daemon.ports.bus import Credential
from librarian_protocol.errors import BusUnavailable, BusUnsafe, ConfigInvalid

#: What ``nats/README.md`` asks of an external server.
USERS = """
max_payload: 1MB
authorization { users: [ { user: lb, password: secret, permissions: {
  publish: { allow: ["lb.>", "$JS.API.STREAM.CREATE.*", "$JS.API.STREAM.UPDATE.*", "$JS.API.STREAM.INFO.*",
    "$JS.API.CONSUMER.CREATE.>", "$JS.API.CONSUMER.RESET.>", "$JS.API.CONSUMER.MSG.NEXT.>"] }
  subscribe: { allow: ["_INBOX.>", "lb.join.*"] } } } ] }
"""
BIG_PAYLOAD = 'max_payload: 4MB\nauthorization { token: "s3cret" }'


def external(name: str, root: Path, url: str, password_file: str = "") -> Site:
    settings = BusSettings(mode="external", url=url, password_file=password_file)
    return Site(A if name == "a" else B, root / name, settings)


async def test_two_sites_meet_on_an_external_server(tmp_path: Path) -> None:
    async with plain_server(tmp_path / "plain", USERS) as where:
        a = external("a", tmp_path, f"nats://lb:secret@{where}")
        a.start()
        credential = await a.bus.invite_credential()
        assert credential == Credential(url=f"nats://lb:secret@{where}")
        b = Site(B, tmp_path / B, BusSettings(mode="join"))
        await b.bus.use(credential.url, external=True)
        b.start()
        try:
            for site, other in ((a, b), (b, a)):
                await site.bus.ensure_stream()
                await site.bus.ensure_readers(readers(other.name))
            for number in range(1, 301):
                await a.publish(number)
            assert numbers(await take(b.bus, A, 0, 300)) == list(range(1, 301))
            assert numbers(await take(b.bus, A, 290, 10)) == list(range(291, 301))
            state = a.bus.state()
            assert "sync_interval cannot be verified" in state.unsafe[0]
            assert len(state.unsafe) == 1
            assert state.notes == ["external server: sites in one account can purge one another's streams"]
            assert (state.connected, state.url, state.detail) == (True, f"nats://{where}", "")
            await a.bus.set_roster(users(a, b), [])  # of no effect on the server
            async with asyncio.timeout(10), aclosing(a.bus.joins()) as joins:
                asked = asyncio.ensure_future(anext(joins))
                while not asked.done():
                    await b.bus.ask_to_join(credential, A, b"let me in")
                    await asyncio.wait({asked}, timeout=0.1)
                assert await asked == b"let me in"
        finally:
            await b.stop()
            await a.stop()


async def test_the_credential_can_stand_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    async with plain_server(tmp_path / "plain", BIG_PAYLOAD) as where:
        a = external("a", tmp_path, f"nats://{where}", str(secret_file(secret, "s3cret")))
        a.start()
        try:
            await a.bus.ensure_stream()
            assert "external server: max_payload is 4194304, not 1048576" in a.bus.state().unsafe
        finally:
            await a.stop()


def secret_file(path: Path, text: str) -> Path:
    path.write_text(text + "\n")
    return path


async def test_a_wrong_credential_is_said_without_showing_it(tmp_path: Path) -> None:
    async with plain_server(tmp_path / "plain", USERS) as where:
        a = external("a", tmp_path, f"nats://lb:wrong@{where}")
        a.start()
        try:
            await eventually(lambda: "Authorization Violation" in a.bus.state().detail)
            assert "wrong" not in repr(a.bus.state())
            with pytest.raises(BusUnavailable, match=r"Authorization Violation|Connection reset"):  # whichever was last
                await a.publish(1)
        finally:
            await a.stop()


async def test_other_settings_of_a_stream_are_put_right_or_warned_about(tmp_path: Path) -> None:
    async with plain_server(tmp_path / "plain", "max_payload: 1MB") as where:
        async with intruder(f"nats://{where}") as operator:
            for name, storage in (("a", b"file"), ("b-1", b"memory")):
                body = b'{"name":"LB_%s","subjects":["lb.%s.>"],"storage":"%s","discard":"new"}'
                raw = name.encode()
                await operator.client.request(f"$JS.API.STREAM.CREATE.LB_{name}", body % (raw, raw, storage))
        a, b = external("a", tmp_path, f"nats://{where}"), external("b", tmp_path, f"nats://{where}")
        try:
            for site in (a, b):
                site.start()
                await site.bus.ensure_stream()
            assert len(a.bus.state().unsafe) == 1
            await a.bus.ensure_stream()
            assert len(a.bus.state().unsafe) == 1
            warning, *_ = b.bus.state().unsafe
            assert "stream LB_b-1 has other settings" in warning
            assert "storage" in warning
        finally:
            await b.stop()
            await a.stop()


async def test_an_external_server_below_the_version_floor_is_refused(tmp_path: Path) -> None:
    async def old(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.9.10","max_payload":1048576}\r\n')
        while line := await reader.readline():
            if line.startswith(b"PING"):
                writer.write(b"PONG\r\n")
        writer.close()

    async with await asyncio.start_server(old, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        a = external("a", tmp_path, f"nats://127.0.0.1:{port}")
        a.start()
        try:
            with pytest.raises(BusUnsafe, match=r"version 2\.9\.10; 2\.14 is the least"):
                await insist(a.bus.ensure_stream, BusUnavailable)
            assert not a.bus.state().connected
        finally:
            await a.stop()


@pytest.mark.parametrize("url", ["", "nonsense", "http://x:1", "nats://[", "nats://x:99999", "nats://:4222"])
async def test_an_external_bus_needs_a_url(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigInvalid, match="URL is not nats://"):
        external("a", tmp_path, url)


@pytest.mark.parametrize("url", ["nats://u:secret@127.0.0.1:1", "nats://nosuchhost.invalid:4222"])
async def test_a_server_that_is_not_there_is_waited_for(tmp_path: Path, url: str) -> None:
    a = external("a", tmp_path, url)
    a.start()
    try:
        await eventually(lambda: a.bus.state().detail.startswith("nats://"))
        assert "secret" not in repr(a.bus.state())
        with pytest.raises(BusUnavailable, match="no connection to the bus"):
            await a.bus.ensure_stream()
    finally:
        await a.stop()
