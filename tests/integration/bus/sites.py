"""Sites for the tests of the bus: real NatsBus objects on real servers, and what a test asks of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

from tests.support.sites import free_port

from librarian_daemon.bus.client import NatsBus
from librarian_daemon.config.settings import BusSettings
from librarian_daemon.ports.bus import BusMember, Credential, Message
from librarian_daemon.runtime.certificates import load_or_make
from librarian_daemon.runtime.clock import SystemClock, SystemRng
from librarian_protocol import subjects
from librarian_protocol.names import SiteName

_T = TypeVar("_T")
A, B, C = SiteName("a"), SiteName("b-1"), SiteName("c")


class Site:
    """A site's bus, running or not."""

    def __init__(self, name: SiteName, root: Path, settings: BusSettings) -> None:
        self.name = name
        self.root = root
        self.settings = settings
        self.certificate = load_or_make(root / "keys", name, ["127.0.0.1"]) if settings.leaf_listen else None
        self.bus = self.new_bus()
        self._running: asyncio.Task[None] | None = None

    def new_bus(self) -> NatsBus:
        """The same site's bus, as another process would make it."""
        return NatsBus(
            site=self.name,
            settings=self.settings,
            directory=self.root / "bus",
            keys_directory=self.root / "keys",
            clock=SystemClock(),
            rng=SystemRng(),
            certificate=self.certificate,
        )

    def start(self) -> None:
        """Run it."""
        self._running = asyncio.create_task(self.bus.run())

    async def stop(self) -> None:
        """End it; raises what it ended with."""
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running
            self._running = None

    async def restart(self) -> None:
        """Stop it and start it as another process would."""
        await self.stop()
        self.bus = self.new_bus()

    async def publish(self, number: int) -> int:
        """Publish a message that carries this number: an object, as a segment is, which JetStream would read."""
        stored = await self.bus.publish(
            subjects.journal(self.name, "file.ingested"),
            b'{"n":%d}' % number,
            {subjects.MESSAGE_ID_HEADER: f"{self.name}-{number}"},
        )
        return stored.stream_seq

    def server_pid(self) -> int:
        """Process id of the embedded server."""
        (ports,) = (self.root / "bus").glob("nats-server_*.ports")
        return int(ports.stem.split("_")[1])


async def eventually(condition: Callable[[], bool], timeout_s: float = 15) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


async def insist(attempt: Callable[[], Awaitable[_T]], error: type[Exception], timeout_s: float = 15) -> _T:
    """Try until it works, as a service would."""
    async with asyncio.timeout(timeout_s):
        while True:
            try:
                return await attempt()
            except error:
                await asyncio.sleep(0.05)


async def take(bus: NatsBus, origin: SiteName, after: int, count: int, timeout_s: float = 30) -> list[Message]:
    """Read so many messages, then stop reading."""
    found: list[Message] = []
    async with asyncio.timeout(timeout_s), aclosing(bus.read(origin, after)) as messages:
        async for message in messages:
            found.append(message)
            if len(found) == count:
                break
    return found


def number(message: Message) -> int:
    """The number that :meth:`Site.publish` put in."""
    return int(message.payload[5:-1])


def numbers(messages: Sequence[Message]) -> list[int]:
    """Those of several messages."""
    return [number(message) for message in messages]


def users(*sites: Site) -> Mapping[SiteName, BusMember]:
    """The roster's part that the bus needs."""
    return {site.name: BusMember(keys=site.bus.public_keys()) for site in sites}


def readers(*names: SiteName) -> Mapping[SiteName, str]:
    """Readers that may read everything."""
    return dict.fromkeys(names, "full")


@asynccontextmanager
async def shared(root: Path, *guests: SiteName) -> AsyncGenerator[tuple[Site, ...]]:
    """Site ``a`` with an embedded server, and guests on it, all running, with streams and readers of one another."""
    host = Site(A, root / A, BusSettings(mode="embedded", listen="127.0.0.1:0"))
    sites = [host, *(Site(name, root / name, BusSettings(mode="join")) for name in guests)]
    await host.bus.set_roster(users(*sites), [])
    url = (await host.bus.invite_credential()).url
    try:
        for site in sites:
            if site is not host:
                await site.bus.use(url, external=False)
            site.start()
        for site in sites:
            await eventually(lambda site=site: site.bus.state().connected)  # type: ignore[misc]
            await site.bus.ensure_stream()
            await site.bus.ensure_readers(readers(*(other.name for other in sites)))
        yield tuple(sites)
    finally:
        for site in reversed(sites):
            await site.stop()


def leaf_members(hub: Site, *leaves: Site, callback: Sequence[SiteName] = ()) -> dict[SiteName, BusMember]:
    """The roster of sites that have servers of their own and meet at the hub."""
    assert hub.certificate is not None
    members = {hub.name: BusMember(leaf_address=hub.bus.leaf_address(), certificate=hub.certificate.announced)}
    for leaf in leaves:
        access = "callback" if leaf.name in callback else "full"
        members[leaf.name] = BusMember(leaf=leaf.bus.leaf_key(), access=access)
    return members


@asynccontextmanager
async def apart(root: Path, *names: SiteName, callback: Sequence[SiteName] = ()) -> AsyncGenerator[tuple[Site, ...]]:
    """Site ``a``, where leaf links meet, and others with servers of their own; all running, each reading each."""
    hub = Site(A, root / A, BusSettings(listen="127.0.0.1:0", leaf_listen=f"127.0.0.1:{free_port()}"))
    leaves = [Site(name, root / name, BusSettings(listen="127.0.0.1:0")) for name in names]
    members = leaf_members(hub, *leaves, callback=callback)
    sites = [hub, *leaves]
    try:
        for site in sites:
            await site.bus.set_roster(members, [])
            if site is not hub:
                where = members[A]
                await site.bus.dial(
                    A, Credential(url="", leaf_address=where.leaf_address, certificate=where.certificate or "")
                )
            site.start()
        for site in sites:
            await eventually(lambda site=site: site.bus.state().connected)  # type: ignore[misc]
            await site.bus.ensure_stream()
            await site.bus.ensure_readers({name: member.access for name, member in members.items()})
        yield tuple(sites)
    finally:
        for site in reversed(sites):
            await site.stop()
