"""Receives pushes: live tickets, the letters that ask for pushes, and the requests that use tickets.

A ticket is valid for one request of one site while a batch waits for it; the bytes of that request go only to that
batch. Tickets are kept in memory: after a restart the replicator asks again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable

import structlog
from aiohttp import web

from librarian_adapters.contract import Push
from librarian_adapters.http.client import spoken
from librarian_adapters.http.push_letters import PUSH_TARGET, decode_push_refused
from librarian_daemon.catalog.journal.letters import Sealed
from librarian_daemon.dataplane.gate import Gate, begin_of
from librarian_daemon.ports.time import Clock, Rng
from librarian_protocol import backoff
from librarian_protocol.errors import (
    ArgumentInvalid,
    CatalogFault,
    SourceMissing,
    SourceUnreachable,
    TransferError,
)
from librarian_protocol.mail import Mail
from librarian_protocol.names import SiteName

#: Lifetime of a ticket at the other site, by its clock.
LIFETIME_S = 300
#: Tickets at once; batches are bounded, so more would be a defect.
MAX_OPEN = 1000
#: After this many letters without an answer a site is asked with growing delays: letters to an absent site accumulate.
_UNANSWERED = 8
_READ_BYTES = 256 << 10


#: Sends a letter: recipient, verb, body. Raises CatalogFault if too many wait for that site.
Send = Callable[[SiteName, str, bytes], Awaitable[None]]


class Tickets:
    """Implements the adapters' ``Pushes``. Lost at a restart, like the batches that wait."""

    def __init__(self, send: Send, clock: Clock, rng: Rng) -> None:
        self._send = send
        self._clock = clock
        self._rng = rng
        self._open: dict[str, Push] = {}
        #: Letters without an effect since a site was last heard, and when it may be asked again.
        self._silent: dict[SiteName, tuple[int, float]] = {}
        self._log = structlog.get_logger("pushes")

    def new_ticket(self) -> str:
        """See the contract."""
        return self._rng.hex(32)

    def expires(self) -> int:
        """See the contract."""
        return self._clock.unix_s() + LIFETIME_S

    def open(self, ticket: str, push: Push) -> None:
        """See the contract."""
        if len(self._open) >= MAX_OPEN:
            raise SourceUnreachable(f"{MAX_OPEN} pushes are waited for already")
        self._open[ticket] = push

    def close(self, ticket: str) -> None:
        """See the contract."""
        self._open.pop(ticket, None)

    async def ask(self, to: SiteName, verb: str, body: bytes) -> None:
        """See the contract."""
        count, not_before_s = self._silent.get(to, (0, 0.0))
        now_s = self._clock.boottime_s()
        if count >= _UNANSWERED and now_s < not_before_s:
            raise SourceUnreachable(
                f"site {to} did not answer the last {count} letters; it is asked again in {not_before_s - now_s:.0f} s"
            )
        self._silent[to] = (count + 1, now_s + backoff.delay_s(count + 1, str(to)))
        try:
            await self._send(to, verb, body)
        except CatalogFault as exc:
            raise SourceUnreachable(f"no letter to site {to}: {exc.message}", hint=exc.hint) from exc

    def take(self, ticket: str, site: SiteName) -> Push:
        """Use a ticket up.

        Raises:
            SourceMissing: there is no such ticket of that site, or not any more.
        """
        push = self._open.get(ticket)
        if push is None or push.source != site:
            raise SourceMissing("no batch waits with this ticket")
        del self._open[ticket]
        self._silent.pop(site, None)
        return push

    async def refused(self, letter: Mail, _sealed: Sealed) -> None:
        """Mail handler: the source says that it will not use a ticket."""
        try:
            said = decode_push_refused(letter.body)
            push = self.take(said.ticket, letter.sender)
        except (ArgumentInvalid, SourceMissing) as exc:
            self._log.info("letter_ignored", sparingly=True, peer=letter.sender, verb=letter.verb, error=exc.message)
            return
        push.end(spoken(said.code, said.message))


class PushReceiver:
    """The handler of ``POST /data/v1/push/{ticket}``."""

    def __init__(self, gate: Gate, tickets: Tickets) -> None:
        self._gate = gate
        self._tickets = tickets

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        return [web.post(PUSH_TARGET + "{ticket}", self._push)]

    async def _push(self, request: web.Request) -> web.StreamResponse:
        return await self._gate.served(request, lambda site, _: self._receive(request, site), whole=False)

    async def _receive(self, request: web.Request, site: SiteName) -> web.StreamResponse:
        begin = begin_of(request.headers.get("Range", ""))
        push = self._tickets.take(request.match_info["ticket"], site)
        if request.content_type != push.content_type or "Content-Encoding" in request.headers:
            error = ArgumentInvalid(f"this ticket is for {push.content_type}, not {request.content_type[:100]!a}")
            push.end(TransferError(f"site {site}: {error.message}"))
            raise error
        await push.receive(_chunks(request), begin, request.content_length)
        return web.json_response({})


async def _chunks(request: web.Request) -> AsyncGenerator[bytes]:
    while chunk := await request.content.read(_READ_BYTES):
        yield chunk
