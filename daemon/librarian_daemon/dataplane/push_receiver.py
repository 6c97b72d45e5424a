"""Being pushed to: live tickets, the letters that ask for their use, and the requests that use them.

A ticket is good for one request, of one site, while a batch waits for it; what that request brings goes to the batch
and nowhere else. Tickets stand in memory: after a restart the transfer machine asks anew.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable

import structlog
from aiohttp import web

from librarian_adapters.contract import Push
from librarian_adapters.http_client import spoken
from librarian_adapters.pushes import PUSH_TARGET, decode_push_refused
from librarian_daemon.catalog.telling import Sealed
from librarian_daemon.datagate import Gate, begin_of
from librarian_daemon.ports import Clock, Rng
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

#: How long a ticket is worth trying at the other site, by its clock.
LIFETIME_S = 300
#: Tickets at once; batches are bounded, so more is a defect.
MAX_OPEN = 1000
#: After so many letters without an answer a site is asked ever more seldom: letters to a site that is away pile up.
_UNANSWERED = 8
_READ_BYTES = 256 << 10


#: Has a letter sent: to whom, its verb, its body. Raises CatalogFault when too many wait for that site.
Send = Callable[[SiteName, str, bytes], Awaitable[None]]


class Tickets:
    """Implements the adapters' ``Pushes``. Lost at a restart, as the batches are that wait."""

    def __init__(self, send: Send, clock: Clock, rng: Rng) -> None:
        self._send = send
        self._clock = clock
        self._rng = rng
        self._open: dict[str, Push] = {}
        #: Letters that nothing came of since a site was last heard of here, and when it may be asked again.
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
            raise SourceMissing("nothing is waited for with this ticket")
        del self._open[ticket]
        self._silent.pop(site, None)
        return push

    async def refused(self, letter: Mail, _sealed: Sealed) -> None:
        """Mail handler: the source says that nothing will come for a ticket."""
        try:
            said = decode_push_refused(letter.body)
            push = self.take(said.ticket, letter.sender)
        except (ArgumentInvalid, SourceMissing) as exc:
            self._log.info("letter_ignored", peer=letter.sender, verb=letter.verb, error=exc.message)
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
