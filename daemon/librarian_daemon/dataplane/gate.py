"""Who may speak with the data plane: every request is checked, counted, and answered in one way.

Nothing is looked up and no body is read before the request's signature was checked: a stranger learns nothing, not
even which digests exist here, and has no memory held for what he sends.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Annotated, Protocol

import msgspec
from aiohttp import web
from msgspec import Meta

from librarian_daemon.ports import Clock
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

_RANGE = re.compile(r"bytes=([0-9]{1,19})-\Z")


class DataLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on what the sites may ask for at once."""

    requests_per_site: Annotated[int, Meta(ge=1)] = 32
    #: The whole body of a request must have come within this time.
    body_s: float = 30.0
    #: A connection that takes no bytes for so long is cut.
    stall_s: float = 10.0
    #: What a site that asks too much is told to wait.
    retry_after_s: int = 5


class Members(Protocol):
    """What the gate needs of the roster."""

    def roster(self) -> Mapping[SiteName, str]:
        """The key of each admitted site."""
        ...

    def may_read(self, site: SiteName) -> str:
        """Why an admitted site gets no data from here; "" where it does."""
        ...


class Gate:
    """Keeps nothing between requests but how many are under way for each site."""

    def __init__(self, *, site: SiteName, clock: Clock, holdings: Members, limits: DataLimits | None = None) -> None:
        self._site = site
        self._clock = clock
        self._holdings = holdings
        self._limits = limits or DataLimits()
        self._busy: dict[SiteName, int] = {}

    @property
    def limits(self) -> DataLimits:
        """The bounds."""
        return self._limits

    def _checked(self, request: web.Request) -> SiteName:
        """Who asks, by headers alone, or :class:`RequestRefused`: the signature does not fit them."""
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
        """The body, as it was declared and signed.

        Raises:
            RequestRefused: it is another, or does not come.
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
        except RequestRefused as exc:
            return _unauthorized(exc)
        if why := self._holdings.may_read(site):
            response = _refusal(403, RequestRefused(f"site {site} gets no data from here: {why}"))
            response.force_close()
            return response
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
    """Break the connection: the answer is begun, and an end would look like a good one."""
    if request.transport is not None:
        request.transport.abort()
    return response


def _unauthorized(error: RequestRefused) -> web.Response:
    """A refusal, and the end of the connection: what comes behind the header is not worth hearing."""
    response = _refusal(401, error)
    response.force_close()
    return response


def _refusal(status: int, error: LibrarianError, headers: Mapping[str, str] | None = None) -> web.Response:
    body = ErrorBody(code=error.code, kind=error.kind, message=error.message, hint=error.hint)
    return web.Response(status=status, body=wire.encode(body), headers=headers, content_type="application/json")
