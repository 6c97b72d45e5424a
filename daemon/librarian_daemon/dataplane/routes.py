"""The data plane: gives the bytes of local instances to admitted sites, over signed HTTP requests.

``GET /data/v1/bytes/{digest}`` and ``POST /data/v1/bundle``; the wire format is in ``docs/adapters/http.md``.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, closing, suppress
from urllib.parse import unquote

from aiohttp import web

from librarian_adapters.contract import Buffer, Part
from librarian_adapters.http.bundle import BUNDLE_TARGET, BUNDLE_TYPE, BYTES_TARGET, BYTES_TYPE, Asked, decode_request
from librarian_daemon.dataplane.gate import Gate, begin_of, cut
from librarian_daemon.dataplane.kernel_copy import CannotCopy, Cut, KernelCopy
from librarian_daemon.dataplane.sender import CutReader, Sender
from librarian_protocol.digests import Digest
from librarian_protocol.errors import ArgumentInvalid, DigestInvalid, NameInvalid, SourceMissing
from librarian_protocol.names import MemberPath, SiteName


class DataPlane:
    """Two handlers."""

    def __init__(self, gate: Gate, sender: Sender) -> None:
        self._gate = gate
        self._sender = sender

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        return [
            web.get(BYTES_TARGET + "{digest}", self._bytes, allow_head=False),
            web.post(BUNDLE_TARGET, self._bundle),
        ]

    async def _bytes(self, request: web.Request) -> web.StreamResponse:
        return await self._gate.served(request, lambda site, _: self._stream(request, site), whole=True)

    async def _stream(self, request: web.Request, site: SiteName) -> web.StreamResponse:
        asked = _asked(request)
        begin = begin_of(request.headers.get("Range", ""))
        reader = await self._sender.find(site, asked)
        try:
            end = reader.size_bytes
            if begin and begin >= end:
                raise ArgumentInvalid(f"asked for bytes from {begin} on, there are {end}")
            response = web.StreamResponse(status=206 if begin else 200, headers={"Content-Type": BYTES_TYPE})
            response.content_length = end - begin
            if begin:
                response.headers["Content-Range"] = f"bytes {begin}-{end - 1}/{end}"
            await response.prepare(request)
            try:
                begin = await self._copied(request, response, site, asked, reader, begin)
                async with aclosing(self._sender.read(asked, reader, begin)) as chunks:
                    async for chunk in chunks:
                        if not await self._sent(site, response, chunk):
                            return cut(request, response)
            except (Cut, SourceMissing):
                return cut(request, response)
        finally:
            reader.close()
        return response

    async def _copied(
        self,
        request: web.Request,
        response: web.StreamResponse,
        site: SiteName,
        asked: Asked,
        reader: CutReader,
        begin: int,
    ) -> int:
        """Have the kernel send the bytes from ``begin``, where it can. Returns up to where it did."""
        file, transport = reader.fileno(), request.transport
        if file is None or transport is None or transport.get_extra_info("sslcontext") is not None:
            return begin
        await response.write(b"")  # the header goes first
        if transport.is_closing() or transport.get_write_buffer_size():
            return begin
        copy = KernelCopy(
            file,
            begin,
            reader.size_bytes,
            transport.get_extra_info("socket"),
            stall_s=self._gate.limits.stall_s,
            may_go_on=lambda: not self._gate.paused(site) and not reader.is_cut,
        )
        with closing(copy), suppress(CannotCopy):
            await self._sender.copy(asked, copy)
        return copy.at

    async def _sent(self, site: SiteName, response: web.StreamResponse, data: Buffer) -> bool:
        """Whether the other side took it in time; nothing is sent to a paused site."""
        if self._gate.paused(site):
            return False
        try:
            async with asyncio.timeout(self._gate.limits.stall_s):
                await response.write(data)
        except TimeoutError:
            return False
        return True

    async def _bundle(self, request: web.Request) -> web.StreamResponse:
        return await self._gate.served(request, lambda site, body: self._frames(request, site, body), whole=True)

    async def _frames(self, request: web.Request, site: SiteName, body: bytes) -> web.StreamResponse:
        asked = decode_request(body)
        response = web.StreamResponse(headers={"Content-Type": BUNDLE_TYPE})
        response.enable_chunked_encoding()
        await response.prepare(request)
        async with aclosing(self._sender.frames(site, asked)) as groups:
            async for frames in groups:
                if not await self._sent(site, response, frames):
                    return cut(request, response)
        return response


def _asked(request: web.Request) -> Asked:
    """The item that a request asks for."""
    # The raw query, because the signature covers the raw text: one way to read it, no '+' for a blank.
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
