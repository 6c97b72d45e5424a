"""The pusher: sends other sites what they asked for by letter, if they cannot dial this one.

It dials the address that the roster gives for the site that asked, and no other. A request is checked like a direct
one: the file must be held here, and offered to that site.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager

import structlog

from librarian_adapters import tasks
from librarian_adapters.contract import Buffer
from librarian_adapters.http.bundle import BUNDLE_TYPE, BYTES_TYPE, MAX_MESSAGE_CHARACTERS
from librarian_adapters.http.client import HttpClient, Stream
from librarian_adapters.http.push_letters import PUSH_REFUSED, PUSH_TARGET, PushMe, PushRefused, decode_push_me
from librarian_daemon.catalog.journal.letters import Sealed
from librarian_daemon.dataplane.push_receiver import Send
from librarian_daemon.dataplane.sender import Holdings, Sender
from librarian_daemon.ports.store import Reader
from librarian_daemon.ports.time import Clock
from librarian_daemon.transfers.pauses import PeerPaused, no_peer_paused
from librarian_daemon.transfers.slots import Slots
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

#: Letters that may wait, in total and of one site; further ones are dropped, and sent again.
MAX_WAITING = 512
MAX_WAITING_PER_SITE = 128
#: Pushes at the same time.
WORKERS = 8
#: Attempts to dial a destination for one ticket.
TRIES = 6
#: Number of chunks that are read ahead.
_AHEAD = 2


#: The offers of a site, from the present roster.
Offers = Callable[[SiteName], Sequence[AdapterOffer]]


class Pusher:
    """Service, and the handler of the letters ``push-me``."""

    def __init__(
        self,
        *,
        client: HttpClient,
        sender: Sender,
        holdings: Holdings,
        offers: Offers,
        send: Send,
        clock: Clock,
        paused: PeerPaused = no_peer_paused,
    ) -> None:
        self._client = client
        self._sender = sender
        self._holdings = holdings
        self._clock = clock
        self._offers = offers
        self._send = send
        self._paused = paused
        #: Waiting letters, by site; a site without letters has no entry.
        self._waiting: dict[SiteName, deque[PushMe]] = {}
        self._by_site: Counter[SiteName] = Counter()
        #: Sites that took their last push too slowly: each holds one worker, and half of the workers stay free for
        #: others.
        self._slow: set[SiteName] = set()
        self._slots = Slots(WORKERS, lambda: self._slow)
        self._changed = asyncio.Event()
        self._log = structlog.get_logger("pusher")

    async def push_me(self, letter: Mail, _sealed: Sealed) -> None:
        """Mail handler. Never waits: a letter that does not fit is dropped, and will be sent again."""
        try:
            asked = decode_push_me(letter.body)
        except ArgumentInvalid as exc:
            self._log.warning("letter_ignored", sparingly=True, peer=letter.sender, verb=letter.verb, error=exc.message)
            return
        waiting = self._by_site.total()
        if waiting >= MAX_WAITING or self._by_site[letter.sender] >= MAX_WAITING_PER_SITE:
            self._log.warning(
                "push_dropped", sparingly=True, peer=letter.sender, items=len(asked.items), waiting=waiting
            )
            return
        self._by_site[letter.sender] += 1
        self._waiting.setdefault(letter.sender, deque()).append(asked)
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            site, asked = await self._next()
            try:
                await self._push(site, asked)
            finally:
                self._slots.give_back(site)
                self._by_site[site] -= 1
                if not self._by_site[site]:
                    del self._by_site[site]
                self._changed.set()

    async def _next(self) -> tuple[SiteName, PushMe]:
        """The next letter, with the sites in turn: a slow site does not hold all workers."""
        while (site := self._slots.following(self._waiting)) is None:
            self._changed.clear()
            await self._changed.wait()
        asked = self._waiting[site].popleft()
        if not self._waiting[site]:
            del self._waiting[site]
        self._slots.take(site)
        return site, asked

    async def _push(self, site: SiteName, asked: PushMe) -> None:
        try:
            address = self._address(site)
            if asked.bundle:
                await self._sent(site, address, asked, None)
                return
            reader = await self._sender.find(site, asked.items[0])
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
        """The address of the site, from the present roster."""
        if why := self._holdings.may_read(site):
            raise SourceRefused(f"site {site} gets no data from here: {why}")
        self._check_paused(site)
        for offer in self._offers(site):
            if offer.name == "http" and offer.dial is not Dial.SOURCE:
                return offer.address
        raise SourceRefused(f"site {site} asks to be pushed to, and announces no address that can be dialled")

    def _check_paused(self, site: SiteName) -> None:
        if why := self._paused(site):
            raise SourceUnreachable(f"nothing is pushed to {site} now: {why}")

    async def _sent(self, site: SiteName, address: str, asked: PushMe, reader: Reader | None) -> None:
        """Send it. Dial again as long as the ticket was not used: an unreached destination has not seen it."""
        for attempt in range(1, TRIES + 1):
            if self._clock.unix_s() > asked.expires:
                self._log.info("push_expired", peer=site, ticket=asked.ticket)
                return
            self._check_paused(site)
            broken: list[TransferError] = []
            try:
                async with _pumped(self._bytes(site, asked, reader), broken) as chunks:
                    await self._request(site, address, asked, reader, chunks)
            except TransferError as exc:
                if broken:
                    raise broken[0] from exc
                if isinstance(exc, TransferTimeout):
                    self._slow.add(site)
                if attempt == TRIES or not isinstance(exc, SourceUnreachable | TransferTimeout):
                    # The destination knows that nothing came, or has refused it itself.
                    self._log.warning("push_failed", peer=site, ticket=asked.ticket, error=exc.message)
                    return
                self._log.info("push_again", peer=site, ticket=asked.ticket, error=exc.message)
                await self._clock.sleep(backoff.delay_s(min(attempt, 3), asked.ticket))
            else:
                self._slow.discard(site)
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

    async def _bytes(self, site: SiteName, asked: PushMe, reader: Reader | None) -> AsyncGenerator[Buffer]:
        if reader is None:
            given: AsyncGenerator[Buffer] = self._sender.frames(site, asked.items)
        else:
            given = self._sender.read(asked.items[0], reader, asked.begin)
        async with aclosing(given) as chunks:
            async for chunk in chunks:
                self._check_paused(site)
                yield chunk

    async def _refuse(self, site: SiteName, asked: PushMe, error: TransferError) -> None:
        """Report it by letter, so that the destination does not wait. If that fails too, it waits."""
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

    The sender of the chunks can be blocked with one until long after the request; by then the source's file is closed.
    An error at the source is noted in ``broken``: the broken connection tells less.
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
        await tasks.stop(reading)
        while not arrived.empty():
            arrived.get_nowait()
        arrived.put_nowait(None)  # a reader that still waits for a chunk ends
