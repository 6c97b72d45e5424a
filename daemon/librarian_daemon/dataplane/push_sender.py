"""The pusher: brings to other sites what they asked for by letter, where they cannot dial this one.

It dials the address that the roster gives for the site that asked, and no other. What it is asked for is checked as if
it were pulled: held here, and offered to that site.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager

import structlog

from librarian_adapters.bundle import BUNDLE_TYPE, BYTES_TYPE, MAX_MESSAGE_CHARACTERS
from librarian_adapters.contract import Buffer
from librarian_adapters.http_client import HttpClient, Stream
from librarian_adapters.pushes import PUSH_REFUSED, PUSH_TARGET, PushMe, PushRefused, decode_push_me
from librarian_daemon.catalog.telling import Sealed
from librarian_daemon.giving import Giver, Holdings
from librarian_daemon.ports import Clock, Reader
from librarian_daemon.pushing import Send
from librarian_protocol import backoff, wire
from librarian_protocol.entries import AdapterOffer, Dial
from librarian_protocol.errors import (
    ArgumentInvalid,
    CatalogFault,
    SourceMissing,
    SourceRefused,
    SourceUnreachable,
    StoreError,
    TransferError,
    TransferTimeout,
)
from librarian_protocol.mail import Mail
from librarian_protocol.names import SiteName

#: Letters that may wait, in all and of one site; further ones are dropped, and asked again.
MAX_WAITING = 512
MAX_WAITING_PER_SITE = 128
#: Pushes at the same time.
WORKERS = 8
#: How often a destination that does not answer is dialled for one ticket.
TRIES = 6
#: Chunks that are read before they are sent.
_AHEAD = 2


#: What a site offers, by the roster as it is now.
Offers = Callable[[SiteName], Sequence[AdapterOffer]]


class Pusher:
    """Service, and the handler of the letters ``push-me``."""

    def __init__(
        self, *, client: HttpClient, giver: Giver, holdings: Holdings, offers: Offers, send: Send, clock: Clock
    ) -> None:
        self._client = client
        self._giver = giver
        self._holdings = holdings
        self._clock = clock
        self._offers = offers
        self._send = send
        self._waiting: asyncio.Queue[tuple[SiteName, PushMe]] = asyncio.Queue(MAX_WAITING)
        self._by_site: Counter[SiteName] = Counter()
        self._log = structlog.get_logger("pusher")

    async def push_me(self, letter: Mail, _sealed: Sealed) -> None:
        """Mail handler. Never waits: what does not fit is dropped, and will be asked for again."""
        try:
            asked = decode_push_me(letter.body)
        except ArgumentInvalid as exc:
            self._log.warning("letter_ignored", peer=letter.sender, verb=letter.verb, error=exc.message)
            return
        if self._waiting.full() or self._by_site[letter.sender] >= MAX_WAITING_PER_SITE:
            self._log.warning("push_dropped", peer=letter.sender, items=len(asked.items), waiting=self._waiting.qsize())
            return
        self._by_site[letter.sender] += 1
        self._waiting.put_nowait((letter.sender, asked))

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            site, asked = await self._waiting.get()
            try:
                await self._push(site, asked)
            finally:
                self._by_site[site] -= 1
                if not self._by_site[site]:
                    del self._by_site[site]

    async def _push(self, site: SiteName, asked: PushMe) -> None:
        try:
            address = self._address(site)
            if asked.bundle:
                await self._sent(site, address, asked, None)
                return
            reader = await self._giver.find(site, asked.items[0])
            try:
                if asked.begin and asked.begin >= reader.size_bytes:
                    raise SourceMissing(f"asked for bytes from {asked.begin} on, there are {reader.size_bytes}")
                await self._sent(site, address, asked, reader)
            finally:
                reader.close()
        except (TransferError, StoreError) as exc:
            self._log.warning("push_failed", peer=site, ticket=asked.ticket, error=exc.message)
            error = exc if isinstance(exc, TransferError) else SourceUnreachable(exc.message)
            await self._refuse(site, asked, error)

    def _address(self, site: SiteName) -> str:
        """Where the site is dialled: from the roster as it is now."""
        if why := self._holdings.may_read(site):
            raise SourceRefused(f"site {site} gets no data from here: {why}")
        for offer in self._offers(site):
            if offer.name == "http" and offer.dial is not Dial.SOURCE:
                return offer.address
        raise SourceRefused(f"site {site} asks to be pushed to, and announces no address that can be dialled")

    async def _sent(self, site: SiteName, address: str, asked: PushMe, reader: Reader | None) -> None:
        """Send it; dial again, as long as the ticket was not used: who could not be reached will not have seen it."""
        for attempt in range(1, TRIES + 1):
            if self._clock.unix_s() > asked.expires:
                self._log.info("push_expired", peer=site, ticket=asked.ticket)
                return
            broken: list[TransferError] = []
            try:
                async with _pumped(self._bytes(site, asked, reader), broken) as chunks:
                    await self._request(site, address, asked, reader, chunks)
            except TransferError as exc:
                if broken:
                    raise broken[0] from exc
                if attempt == TRIES or not isinstance(exc, SourceUnreachable | TransferTimeout):
                    # The destination knows that nothing came, or has said itself that it does not want it.
                    self._log.warning("push_failed", peer=site, ticket=asked.ticket, error=exc.message)
                    return
                self._log.info("push_again", peer=site, ticket=asked.ticket, error=exc.message)
                await self._clock.sleep(backoff.delay_s(min(attempt, 3), asked.ticket))
            else:
                return

    async def _request(
        self, site: SiteName, address: str, asked: PushMe, reader: Reader | None, chunks: AsyncGenerator[Buffer]
    ) -> None:
        stream = Stream(
            content_type=BUNDLE_TYPE if reader is None else BYTES_TYPE,
            size_bytes=None if reader is None else reader.size_bytes - asked.begin,
            chunks=chunks,
        )
        async with self._client.request(
            site,
            address,
            "POST",
            PUSH_TARGET + asked.ticket,
            content_type="application/json",
            byte_range=f"bytes={asked.begin}-" if asked.begin else "",
            stream=stream,
        ):
            self._log.info("pushed", peer=site, ticket=asked.ticket, items=len(asked.items), begin=asked.begin)

    def _bytes(self, site: SiteName, asked: PushMe, reader: Reader | None) -> AsyncGenerator[Buffer]:
        if reader is None:
            return self._giver.frames(site, asked.items)
        return self._giver.read(asked.items[0], reader, asked.begin)

    async def _refuse(self, site: SiteName, asked: PushMe, error: TransferError) -> None:
        """Say so by letter, so that nobody waits in vain. Where that fails too, they wait."""
        said = PushRefused(ticket=asked.ticket, code=error.code, message=error.message[:MAX_MESSAGE_CHARACTERS])
        try:
            await self._send(site, PUSH_REFUSED, wire.encode(said))
        except CatalogFault as exc:
            self._log.warning("letter_not_written", peer=site, error=exc.message)


@asynccontextmanager
async def _pumped(
    source: AsyncGenerator[Buffer], broken: list[TransferError]
) -> AsyncGenerator[AsyncGenerator[Buffer]]:
    """The source's chunks, read by a task that has ended when the block ends.

    Whoever sends the chunks may be stuck with one of them until long after the request is over; what the source reads
    from is closed by then. What fails at the source is noted in ``broken``: the connection that it breaks tells less.
    """
    arrived: asyncio.Queue[Buffer | TransferError | None] = asyncio.Queue(_AHEAD)

    async def read() -> None:
        async with aclosing(source):
            try:
                async for chunk in source:
                    await arrived.put(chunk)
                await arrived.put(None)
            except TransferError as exc:
                broken.append(exc)
                await arrived.put(exc)

    async def chunks() -> AsyncGenerator[Buffer]:
        while (chunk := await arrived.get()) is not None:
            if isinstance(chunk, TransferError):
                raise chunk
            yield chunk

    reading = asyncio.create_task(read(), name="push")
    try:
        yield chunks()
    finally:
        reading.cancel()
        await asyncio.wait([reading])
        while not arrived.empty():
            arrived.get_nowait()
        arrived.put_nowait(None)  # whoever still waits for a chunk ends
