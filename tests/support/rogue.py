"""A site whose owner is an attacker: it has the site's keys and its place on the bus, and says what it likes there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
from tests.support.sites import Site

from librarian_daemon.bus.client import NatsBus
from librarian_daemon.config import loader
from librarian_daemon.runtime import machine
from librarian_daemon.runtime.clock import SystemClock, SystemRng
from librarian_protocol import segments, subjects
from librarian_protocol.entries import Entry
from librarian_protocol.errors import BusUnavailable
from librarian_protocol.keys import Purpose, SiteKey
from librarian_protocol.names import SiteName
from librarian_protocol.segments import Cut, Position

AT = "2026-01-02T03:04:05.000006Z"


class Rogue:
    """Publishes into the site's own stream, where everybody reads. Made by :func:`rogue`."""

    def __init__(self, bus: NatsBus, key: SiteKey, position: Position) -> None:
        self._bus = bus
        self.key = key
        #: Where the site's journal ends, as far as anybody knows.
        self.position = position

    def cut(self, *entries: Entry, position: Position | None = None) -> list[Cut]:
        """Segments that continue the journal at ``position``, its end where not given. Nothing is published."""
        return list(segments.cut(position or self.position, list(entries), AT))

    async def publish(self, done: Iterable[Cut]) -> None:
        """Say them, signed as they should be; the journal ends behind them."""
        for segment_cut in done:
            await self.send(segment_cut.segment.kind, segment_cut.payload, self.key)
            self.position = segments.following(self.position, segment_cut)

    async def send(self, kind: str, payload: bytes, key: SiteKey, *, as_site: SiteName | None = None) -> None:
        """Publish any bytes, signed by any key, under the site's own subject of that kind, or another site's."""
        await self._bus.publish(
            subjects.journal(as_site or self.position.site, kind),
            payload,
            {subjects.SIGNATURE_HEADER: key.sign(Purpose.SEGMENT, payload)},
        )


@asynccontextmanager
async def rogue(site: Site, bus_url: str) -> AsyncGenerator[Rogue]:
    """Stop the site's daemon and take its place on the bus, whose server another site runs."""
    journal = site.client.status().journal
    site.stop()
    settings = loader.load(site.config)
    rng = SystemRng()
    bus = NatsBus(
        site=settings.site,
        settings=settings.bus,
        directory=site.root / "rogue-bus",
        keys_directory=Path(settings.state) / "keys",
        clock=SystemClock(),
        rng=rng,
    )
    await bus.use(bus_url, external=False)
    running = asyncio.create_task(bus.run())
    try:
        async with asyncio.timeout(30):
            while True:
                with suppress(BusUnavailable):
                    await bus.ensure_stream()
                    break
                await asyncio.sleep(0.05)
        position = Position(
            site=settings.site,
            epoch=journal.epoch + 1,
            incarnation=rng.hex(16),
            seq=journal.seq,
            hash=journal.hash,
        )
        yield Rogue(bus, machine.load_key(Path(settings.state) / "keys" / "site.key"), position)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


def altered(done: Cut, **changes: object) -> bytes:
    """The segment's bytes with fields of its head replaced: ``site``, ``first_seq``, ``prev``, ``v``, …"""
    fields: dict[str, object] = msgspec.json.decode(done.payload)
    return msgspec.json.encode(fields | changes)
