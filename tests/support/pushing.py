"""A source that cannot be dialled, and a destination that it pushes to: both ends' own code, letters by hand."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import msgspec
from tests.support.source import ARCHIVE, NOW, SUMMIT, Collection, Destination, StoppedClock

from librarian_adapters.contract import Context
from librarian_adapters.http import adapter
from librarian_adapters.http.push_letters import PUSH_ME
from librarian_daemon.catalog.journal.letters import Sealed
from librarian_daemon.config.settings import DataSettings, SiteSettings
from librarian_daemon.dataplane.gate import Gate
from librarian_daemon.dataplane.push_receiver import PushReceiver, Tickets
from librarian_daemon.dataplane.push_sender import Pusher
from librarian_daemon.dataplane.sender import Sender
from librarian_daemon.runtime.certificates import load_or_make
from librarian_daemon.runtime.clock import SystemClock, SystemRng
from librarian_daemon.runtime.data_tls import data_tls
from librarian_daemon.runtime.tcp_server import TcpServer, application
from librarian_daemon.transfers.pauses import PeerPaused, no_peer_paused
from librarian_protocol.entries import AdapterOffer, Dial
from librarian_protocol.mail import VERSION, Mail
from librarian_protocol.names import SiteName


class Certified(msgspec.Struct, frozen=True, kw_only=True):
    """TLS with a certificate of its own, or none."""

    context: ssl.SSLContext | None = None
    certificate: str | None = None

    def url(self, address: str) -> str:
        return address if self.context is None else f"https://{address}"


def certified(directory: Path) -> Certified:
    """A new one."""
    made = load_or_make(directory, SUMMIT, ["127.0.0.1"])
    settings = SiteSettings(site=SUMMIT, data=DataSettings(tls="on"))
    return Certified(context=data_tls(settings, made, "127.0.0.1:1").context, certificate=made.announced)


class SourceClock(SystemClock):
    """Waits as clocks do, at a time that stands still."""

    def unix_s(self) -> int:
        return NOW


class Receivers:
    """The roster as the destination's gate sees it."""

    def __init__(self) -> None:
        self.keys: dict[SiteName, str] = {}

    def roster(self) -> dict[SiteName, str]:
        return self.keys

    def may_read(self, site: SiteName) -> str:
        return ""


class PushPair:
    """``summit`` pushes out of ``collection``; ``archive`` has the adapter."""

    def __init__(
        self, collection: Collection, tls: Certified | None = None, paused: PeerPaused = no_peer_paused
    ) -> None:
        self.collection = collection
        self.tls = tls
        self.source = Destination(SUMMIT, 7)
        self.destination = Destination()
        collection.keys[ARCHIVE] = self.destination.key.public
        self.receivers = Receivers()
        self.receivers.keys[SUMMIT] = self.source.key.public
        clock = SourceClock()
        #: Letters that were written, newest last; those to the source arrive only while this is set.
        self.letters: list[tuple[SiteName, str, bytes]] = []
        self.delivering = True
        self.tickets = Tickets(self._to_source, clock, SystemRng())
        gate = Gate(site=ARCHIVE, clock=StoppedClock(), holdings=self.receivers)
        app = application(4 << 20)
        app.add_routes(PushReceiver(gate, self.tickets).routes())
        self._server = TcpServer(app)
        self.port = 0
        #: Where the source finds the destination: its offer in the roster.
        self.address = ""
        settings = {"push_s": 3.0, "idle_s": 2.0}
        self.client = adapter.client(self.source.sign, settings, self._certificate, "", loopback=True)
        self.pusher = Pusher(
            client=self.client,
            sender=Sender(SUMMIT, collection, collection),
            holdings=collection,
            offers=self._offers,
            send=self._to_destination,
            clock=clock,
            paused=paused,
        )
        self.adapter = adapter.factory(
            Context(
                site=ARCHIVE,
                sign=self.destination.sign,
                settings=settings,
                roots={},
                loopback_peers=True,
                pushes=self.tickets,
            )
        )
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.port = await self._server.start("127.0.0.1", 0, self.tls.context if self.tls else None)
        self.address = self.tls.url(f"127.0.0.1:{self.port}") if self.tls else f"127.0.0.1:{self.port}"
        self._running = asyncio.create_task(self.pusher.run())

    async def stop(self) -> None:
        assert self._running is not None
        self._running.cancel()
        await asyncio.wait([self._running])
        await self.adapter.close()
        await self.client.close()
        await self._server.stop()

    def _certificate(self, site: SiteName) -> str | None:
        return self.tls.certificate if self.tls else None

    def _offers(self, site: SiteName) -> list[AdapterOffer]:
        assert site == ARCHIVE
        return [AdapterOffer(name="http", version=1, address=self.address, dial=Dial.DESTINATION)]

    async def _to_source(self, to: SiteName, verb: str, body: bytes) -> None:
        assert (to, verb) == (SUMMIT, PUSH_ME)
        self.letters.append((to, verb, body))
        if self.delivering:
            await self.pusher.push_me(letter(ARCHIVE, to, verb, body), Sealed(b"", ""))

    async def _to_destination(self, to: SiteName, verb: str, body: bytes) -> None:
        self.letters.append((to, verb, body))
        await self.tickets.refused(letter(SUMMIT, to, verb, body), Sealed(b"", ""))


def letter(sender: SiteName, to: SiteName, verb: str, body: bytes) -> Mail:
    """As the projection hands it over."""
    return Mail(v=VERSION, sender=sender, to=to, verb=verb, id="0" * 32, at="", body=msgspec.Raw(body))
