"""Access control of the data plane: every request is checked and counted, and refusals look the same.

Nothing is looked up and no body is read before the request's signature is checked: a stranger learns nothing, not even
which digests exist here, and can occupy no memory.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Annotated, Protocol

import msgspec
import structlog
from aiohttp import web
from msgspec import Meta

from librarian_daemon.ports.time import Clock
from librarian_daemon.transfers.pauses import PeerPaused, no_peer_paused
from librarian_protocol import requests, wire
from librarian_protocol.api import ErrorBody
from librarian_protocol.errors import (
    ArgumentInvalid,
    LibrarianError,
    NotOffered,
    RequestRefused,
    SourceMissing,
    SourceUnreachable,
    StoreError,
    TransferError,
    TransferTimeout,
)
from librarian_protocol.names import SiteName
from librarian_protocol.requests import RequestUnproven

#: The only answer to an unproven sender: it shows neither which names are admitted, nor how the request was understood.
_UNPROVEN = (
    "the request is not signed by a site that is admitted here",
    "do both sites list one another with the same keys? `lbctl site list`; the source's log says more",
)
_RANGE = re.compile(r"bytes=([0-9]{1,19})-\Z")


class DataLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on what sites may ask for at once."""

    requests_per_site: Annotated[int, Meta(ge=1)] = 32
    #: The whole body of a request must have come within this time.
    body_s: float = 30.0
    #: A connection that takes no bytes for this time is cut.
    stall_s: float = 10.0
    #: Retry delay for a site that asks too much.
    retry_after_s: int = 5


class Members(Protocol):
    """The roster, as the gate needs it."""

    def roster(self) -> Mapping[SiteName, str]:
        """The key of each admitted site."""
        ...

    def may_read(self, site: SiteName) -> str:
        """Why an admitted site gets no data from here; "" if it does."""
        ...


class Gate:
    """Its only state between requests is the number of running requests of each site."""

    def __init__(
        self,
        *,
        site: SiteName,
        clock: Clock,
        holdings: Members,
        limits: DataLimits | None = None,
        paused: PeerPaused = no_peer_paused,
    ) -> None:
        self._site = site
        self._clock = clock
        self._holdings = holdings
        self._limits = limits or DataLimits()
        #: Why an operator has paused a site; "" if nobody has.
        self.paused = paused
        self._busy: dict[SiteName, int] = {}
        self._log = structlog.get_logger("data")

    @property
    def limits(self) -> DataLimits:
        """The bounds."""
        return self._limits

    def _checked(self, request: web.Request) -> SiteName:
        """The asking site, from the headers alone. Raises :class:`RequestRefused`: the signature does not match."""
        return requests.check(
            request.headers,
            source=self._site,
            method=request.method,
            target=request.raw_path,
            range=request.headers.get("Range", ""),
            now=self._clock.unix_s(),
            roster=self._holdings.roster(),
        )

    async def _body(self, request: web.Request) -> bytes:
        """The body, checked against its declaration and signature.

        Raises:
            RequestRefused: it is another, or does not come.
            RequestPayloadError: its encoding is broken.
            HTTPRequestEntityTooLarge: it is, or says that it will be.
        """
        announced = request.content_length or 0
        if announced > request.client_max_size:
            raise web.HTTPRequestEntityTooLarge(max_size=request.client_max_size, actual_size=announced)
        try:
            async with asyncio.timeout(self._limits.body_s):
                body = await request.read()
        except TimeoutError as exc:
            raise RequestRefused(f"the body did not come within {self._limits.body_s:g} s") from exc
        requests.check_body(request.headers, body)
        return body

    async def served(
        self, request: web.Request, serve: Callable[[SiteName, bytes], Awaitable[web.StreamResponse]], *, whole: bool
    ) -> web.StreamResponse:
        """Check the request, then serve it; errors become answers.

        ``whole``: the body is read and checked first; else it is the server's business, and not covered by the
        signature.
        """
        try:
            site = self._checked(request)
        except RequestUnproven as exc:
            self._log.warning("request_unproven", sparingly=True, remote=request.remote, error=exc.message)
            return _unauthorized(RequestRefused(_UNPROVEN[0], hint=_UNPROVEN[1]))
        except RequestRefused as exc:
            return _unauthorized(exc)
        if why := self._holdings.may_read(site):
            response = _refusal(403, RequestRefused(f"site {site} gets no data from here: {why}"))
            response.force_close()
            return response
        if why := self.paused(site):
            put_off = SourceUnreachable(f"site {self._site} exchanges nothing with {site} now: {why}")
            return _refusal(503, put_off, {"Retry-After": str(self._limits.retry_after_s)})
        if self._busy.get(site, 0) >= self._limits.requests_per_site:
            busy = SourceUnreachable(f"site {site} has {self._limits.requests_per_site} requests under way already")
            return _refusal(503, busy, {"Retry-After": str(self._limits.retry_after_s)})
        with self._counted(site):
            try:
                return await serve(site, await self._body(request) if whole else b"")
            except RequestRefused as exc:
                return _unauthorized(exc)
            except ArgumentInvalid as exc:
                return _refusal(400, exc)
            except web.RequestPayloadError:
                response = _refusal(400, ArgumentInvalid("the request's body is not encoded as its header says"))
                response.force_close()
                return response
            except NotOffered as exc:
                return _refusal(403, exc)
            except SourceMissing as exc:
                return _refusal(404, exc)
            except (SourceUnreachable, TransferTimeout, StoreError) as exc:
                return _refusal(503, exc, {"Retry-After": str(self._limits.retry_after_s)})
            except TransferError as exc:
                response = _refusal(409, exc)
                response.force_close()
                return response

    @contextmanager
    def _counted(self, site: SiteName) -> Generator[None]:
        self._busy[site] = self._busy.get(site, 0) + 1
        try:
            yield
        finally:
            self._busy[site] -= 1
            if not self._busy[site]:
                del self._busy[site]


def begin_of(byte_range: str) -> int:
    """The first byte asked for."""
    if not byte_range:
        return 0
    match = _RANGE.match(byte_range)
    if match is None:
        raise ArgumentInvalid(f"range {byte_range[:80]!a} is not of the form bytes=N-")
    return int(match[1])


def cut(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Break the connection: the answer has begun, and a normal end would look complete."""
    if request.transport is not None:
        request.transport.abort()
    return response


def _unauthorized(error: RequestRefused) -> web.Response:
    """A refusal that closes the connection: the rest of the request is not read."""
    response = _refusal(401, error)
    response.force_close()
    return response


def _refusal(status: int, error: LibrarianError, headers: Mapping[str, str] | None = None) -> web.Response:
    body = ErrorBody(code=error.code, kind=error.kind, message=error.message, hint=error.hint)
    return web.Response(status=status, body=wire.encode(body), headers=headers, content_type="application/json")
