"""The data plane: gives the bytes of local instances to admitted sites, over signed HTTP requests.

``GET /data/v1/bytes/{digest}`` and ``POST /data/v1/bundle``; the wire format is in ``docs/adapters/http.md``.

Nothing is looked up and no body is read before the request's signature was checked: a stranger learns nothing, not
even which digests exist here, and has no memory held for what he sends. Whatever cannot be given as announced is
answered with ``SourceMissing``, and its owner, this site, is told to read it again.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, Protocol
from urllib.parse import unquote

import msgspec
from aiohttp import web
from msgspec import Meta

from librarian_adapters.bundle import (
    BUNDLE_TARGET,
    BUNDLE_TYPE,
    BYTES_TARGET,
    BYTES_TYPE,
    MAX_ITEM_BYTES,
    Asked,
    decode_request,
    encode_error,
    encode_frame,
)
from librarian_adapters.contract import Part
from librarian_adapters.threads import in_thread
from librarian_daemon.ports import Clock, Reader
from librarian_protocol import requests, wire
from librarian_protocol.api import ErrorBody
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Unit
from librarian_protocol.errors import (
    ArgumentInvalid,
    DigestInvalid,
    LibrarianError,
    NameInvalid,
    RequestRefused,
    SizeMismatch,
    SourceMissing,
    SourceUnreachable,
    StoreError,
    StoreNotMounted,
)
from librarian_protocol.names import MemberPath, Name, SiteName

_RANGE = re.compile(r"bytes=([0-9]{1,19})-\Z")
_CHUNK_BYTES = 1 << 20
#: A group of a bundle's items is read in one hop to a thread and sent in one write.
_GROUP_ITEMS = 64


class Opening(Protocol):
    """What the data plane needs of a store (see :class:`librarian_daemon.ports.Store`)."""

    async def open_part(self, name: Name, digest: Digest, part: str, member: MemberPath | None) -> Reader:
        """Open one part of an instance for reading."""
        ...


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """A local instance that may be given away."""

    name: Name
    digest: Digest
    unit: Unit
    size_bytes: int
    store: Opening


class Holdings(Protocol):
    """What the data plane needs of the catalog."""

    def roster(self) -> Mapping[SiteName, str]:
        """The key of each admitted site."""
        ...

    async def find(self, digests: Sequence[Digest]) -> Mapping[Digest, Holding]:
        """Local instances that are available: neither suspected, nor doubted without an answer, nor set aside.

        At most a few hundred digests; those of which there is none are missing from the answer.
        """
        ...


class Suspicions(Protocol):
    """Whom the data plane tells of what it could not give."""

    async def missing(self, digest: Digest, reason: str) -> None:
        """The instance is to be read again. Idempotent, and cheap: it is called for each failed request."""
        ...


class DataLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on what the sites may ask for at once."""

    requests_per_site: Annotated[int, Meta(ge=1)] = 32
    #: The whole body of a request must have come within this time.
    body_s: float = 30.0
    #: A connection that takes no bytes for so long is cut.
    stall_s: float = 30.0
    #: What a site that asks too much is told to wait.
    retry_after_s: int = 5


class DataPlane:
    """Two handlers. Keeps nothing between requests but how many are under way for each site."""

    def __init__(
        self,
        *,
        site: SiteName,
        clock: Clock,
        holdings: Holdings,
        suspicions: Suspicions,
        limits: DataLimits | None = None,
    ) -> None:
        self._site = site
        self._clock = clock
        self._holdings = holdings
        self._suspicions = suspicions
        self._limits = limits or DataLimits()
        self._busy: dict[SiteName, int] = {}

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        return [
            web.get(BYTES_TARGET + "{digest}", self._bytes, allow_head=False),
            web.post(BUNDLE_TARGET, self._bundle),
        ]

    # ---- every request -----------------------------------------------------------------------------------

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

    async def _served(
        self, request: web.Request, serve: Callable[[bytes], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Check the request, then serve it; errors become answers."""
        try:
            site = self._checked(request)
        except RequestRefused as exc:
            return _unauthorized(exc)
        if self._busy.get(site, 0) >= self._limits.requests_per_site:
            busy = SourceUnreachable(f"site {site} has {self._limits.requests_per_site} requests under way already")
            return _refusal(503, busy, {"Retry-After": str(self._limits.retry_after_s)})
        with self._counted(site):
            try:
                return await serve(await self._body(request))
            except RequestRefused as exc:
                return _unauthorized(exc)
            except ArgumentInvalid as exc:
                return _refusal(400, exc)
            except SourceMissing as exc:
                return _refusal(404, exc)
            except (SourceUnreachable, StoreError) as exc:
                return _refusal(503, exc, {"Retry-After": str(self._limits.retry_after_s)})

    @contextmanager
    def _counted(self, site: SiteName) -> Generator[None]:
        self._busy[site] = self._busy.get(site, 0) + 1
        try:
            yield
        finally:
            self._busy[site] -= 1
            if not self._busy[site]:
                del self._busy[site]

    # ---- one item ------------------------------------------------------------------------------------------

    async def _bytes(self, request: web.Request) -> web.StreamResponse:
        return await self._served(request, lambda _: self._stream(request))

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        asked = _asked(request)
        begin = _begin(request.headers.get("Range", ""))
        async with self._opened(asked, (await self._holdings.find([asked.digest])).get(asked.digest)) as reader:
            end = reader.size_bytes
            if begin and begin >= end:
                raise ArgumentInvalid(f"asked for bytes from {begin} on, there are {end}")
            response = web.StreamResponse(status=206 if begin else 200, headers={"Content-Type": BYTES_TYPE})
            response.content_length = end - begin
            if begin:
                response.headers["Content-Range"] = f"bytes {begin}-{end - 1}/{end}"
            await response.prepare(request)
            while begin < end:
                try:
                    chunk = await in_thread(os.pread, reader.fileno(), min(_CHUNK_BYTES, end - begin), begin)
                except OSError as exc:
                    await self._suspicions.missing(asked.digest, f"reading {asked.part} failed: {exc.strerror}")
                    return _cut(request, response)
                if not chunk:
                    await self._suspicions.missing(asked.digest, f"{asked.part} ends at {begin}, not at {end}")
                    return _cut(request, response)
                if not await self._sent(response, chunk):
                    return _cut(request, response)
                begin += len(chunk)
        return response

    async def _sent(self, response: web.StreamResponse, data: bytes) -> bool:
        """Whether the other side took it in time."""
        try:
            async with asyncio.timeout(self._limits.stall_s):
                await response.write(data)
        except TimeoutError:
            return False
        return True

    @asynccontextmanager
    async def _opened(self, asked: Asked, holding: Holding | None) -> AsyncGenerator[Reader]:
        reader = await self._open(asked, holding)
        try:
            yield reader
        finally:
            reader.close()

    async def _open(self, asked: Asked, holding: Holding | None) -> Reader:
        """Open what is asked for.

        Raises:
            SourceMissing: it is not held here, or no longer as the catalog says; then it is suspected.
            SourceUnreachable: its store is not mounted.
        """
        if holding is None or (holding.unit is Unit.FILE) != (asked.part is Part.FILE):
            raise SourceMissing(f"site {self._site} does not hold {asked.part} of {asked.digest}")
        try:
            reader = await holding.store.open_part(holding.name, holding.digest, asked.part, asked.member)
        except StoreNotMounted as exc:
            # Not mounted is never "gone": the path to the local disk's name stays here.
            raise SourceUnreachable(f"the store of {asked.digest} is not mounted at site {self._site}") from exc
        except (SourceMissing, StoreError) as exc:
            await self._suspicions.missing(asked.digest, f"{asked.part} does not open: {exc.message}")
            raise SourceMissing(f"site {self._site} cannot read {asked.part} of {asked.digest}") from exc
        if asked.part is Part.FILE and reader.size_bytes != holding.size_bytes:
            reader.close()
            reason = f"the file has {reader.size_bytes} bytes, not {holding.size_bytes}"
            await self._suspicions.missing(asked.digest, reason)
            raise SourceMissing(f"site {self._site} does not hold {asked.digest} any more: {reason}")
        return reader

    # ---- many ----------------------------------------------------------------------------------------------

    async def _bundle(self, request: web.Request) -> web.StreamResponse:
        return await self._served(request, lambda body: self._frames(request, body))

    async def _frames(self, request: web.Request, body: bytes) -> web.StreamResponse:
        asked = decode_request(body)
        response = web.StreamResponse(headers={"Content-Type": BUNDLE_TYPE})
        response.enable_chunked_encoding()
        await response.prepare(request)
        # The members of a book come one after another, and have one holding.
        found: dict[Digest, Holding | None] = {}
        at = 0
        while at < len(asked):
            frames, at = await self._group(asked, at, found)
            if not await self._sent(response, frames):
                return _cut(request, response)
        return response

    async def _group(self, asked: list[Asked], at: int, found: dict[Digest, Holding | None]) -> tuple[bytes, int]:
        """Frames of the next items, and where to go on."""
        readers: dict[int, Reader] = {}
        frames: list[bytes] = []
        size_bytes = 0
        unknown = sorted({one.digest for one in asked[at : at + _GROUP_ITEMS]} - found.keys())
        if unknown:
            answers = await self._holdings.find(unknown)
            found.update({digest: answers.get(digest) for digest in unknown})
        try:
            end = min(at + _GROUP_ITEMS, len(asked))
            while at < end and size_bytes < _CHUNK_BYTES:
                try:
                    reader = await self._open(asked[at], found[asked[at].digest])
                    readers[at] = reader
                    _bounded(asked[at], reader)
                    size_bytes += reader.size_bytes
                except (SourceMissing, SourceUnreachable, SizeMismatch) as exc:
                    opened = readers.pop(at, None)
                    if opened is not None:
                        opened.close()
                    frames.append(encode_error(at, exc.code, exc.message))
                at += 1
            for item, data in await in_thread(_read_all, readers):
                if isinstance(data, bytes):
                    frames.append(encode_frame(item, data))
                    continue
                await self._suspicions.missing(asked[item].digest, f"reading {asked[item].part} failed: {data}")
                error = SourceMissing(f"site {self._site} cannot read {asked[item].part} of {asked[item].digest}")
                frames.append(encode_error(item, error.code, error.message))
        finally:
            for reader in readers.values():
                reader.close()
        return b"".join(frames), at


def _read_all(readers: Mapping[int, Reader]) -> list[tuple[int, bytes | str]]:
    """Each reader's bytes, or why they cannot be had. Blocks."""
    found: list[tuple[int, bytes | str]] = []
    for item, reader in readers.items():
        try:
            data = os.pread(reader.fileno(), reader.size_bytes, 0)
        except OSError as exc:
            found.append((item, exc.strerror or "error"))
            continue
        found.append((item, data if len(data) == reader.size_bytes else f"it ends at {len(data)} bytes"))
    return found


def _bounded(asked: Asked, reader: Reader) -> None:
    most = min(asked.size_bytes, MAX_ITEM_BYTES)
    if reader.size_bytes > most:
        raise SizeMismatch(f"{asked.part} of {asked.digest} has {reader.size_bytes} bytes, not up to {most}")


def _asked(request: web.Request) -> Asked:
    """What a request for one item asks for."""
    # The raw query, because what was signed is the raw text: one way to read it, no '+' for a blank.
    query: dict[str, str] = {}
    for pair in request.rel_url.raw_query_string.split("&"):
        key, _, value = pair.partition("=")
        query[key] = value
    try:
        digest = Digest.parse(request.match_info["digest"])
        part = Part(query.pop("part", ""))
        member = MemberPath.parse(unquote(query.pop("member"), errors="strict")) if "member" in query else None
    except (DigestInvalid, NameInvalid, ValueError) as exc:
        raise ArgumentInvalid(f"request for bytes: {exc}") from exc
    if query:
        raise ArgumentInvalid(f"request for bytes: unknown parameter {min(query)[:40]!a}")
    return Asked(digest=digest, part=part, member=member, size_bytes=0)


def _begin(byte_range: str) -> int:
    """The first byte asked for."""
    if not byte_range:
        return 0
    match = _RANGE.match(byte_range)
    if match is None:
        raise ArgumentInvalid(f"range {byte_range[:80]!a} is not of the form bytes=N-")
    return int(match[1])


def _cut(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
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
