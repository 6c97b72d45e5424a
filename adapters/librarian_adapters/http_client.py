"""Signed requests to the data plane of another site, and what their failures mean."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated

import aiohttp
import msgspec
from msgspec import Meta
from yarl import URL

from librarian_adapters.bundle import MAX_ITEM_BYTES, MAX_ITEMS, MAX_MESSAGE_CHARACTERS
from librarian_adapters.contract import Batch, Signer
from librarian_protocol import wire
from librarian_protocol.api import ErrorBody
from librarian_protocol.errors import (
    SizeMismatch,
    SourceInvalid,
    SourceMissing,
    SourceRefused,
    SourceUnreachable,
    TransferError,
    TransferTimeout,
)

_AUTHORITY = re.compile(r"(\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9._-]{1,253}):(?P<port>[0-9]{1,5})\Z")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\U0010ffff]")
#: The most of an error's body that is read.
_ERROR_BYTES = 16 << 10
_ERROR_BODY = wire.decoder(ErrorBody)
#: What a source may say of an item; anything else it says is outside the protocol.
_SPOKEN: dict[str, type[TransferError]] = {
    error.code: error for error in (SourceMissing, SizeMismatch, SourceUnreachable, SourceRefused, SourceInvalid)
}
#: A pooled connection is given up well before the source closes it for being idle.
_KEEPALIVE_S = 2.0
_READ_BYTES = 1 << 20


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[adapters.http]``."""

    #: Items larger than this have a request of their own, and are resumed.
    large_from_bytes: Annotated[int, Meta(ge=0, le=MAX_ITEM_BYTES)] = 1 << 20
    bundle_files: Annotated[int, Meta(ge=1, le=MAX_ITEMS)] = MAX_ITEMS
    bundle_bytes: Annotated[int, Meta(ge=1)] = 64 << 20
    #: Requests at the same time, for each batch.
    requests: Annotated[int, Meta(ge=1, le=16)] = 4
    connect_s: Annotated[float, Meta(gt=0, le=600)] = 10.0
    #: Silence that is borne before and between the bytes of an answer.
    idle_s: Annotated[float, Meta(gt=0, le=3600)] = 30.0


class HttpClient:
    """Sends requests. Opens its first connection when the first one is sent."""

    def __init__(self, sign: Signer, settings: HttpSettings) -> None:
        self._sign = sign
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def request(
        self, batch: Batch, method: str, target: str, *, content_type: str, byte_range: str = "", body: bytes = b""
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """Send a signed request to ``batch.offer.address``; the answer, its status 200 or 206, body unread.

        Whatever fails while the body is read is explained in the same way.

        Raises:
            SourceUnreachable: no connection, or it broke, or the source is busy.
            SourceRefused: 401 or 403, with the source's words.
            SourceMissing: 404.
            SourceInvalid: any other answer, redirects included, or not HTTP, or not of ``content_type``.
            TransferTimeout: silence.
        """
        where = f"site {batch.source} at {batch.offer.address[:300]!a}"
        url = _url(where, batch.offer.address, target)
        headers = self._sign(source=batch.source, method=method, target=target, range=byte_range, body=body)
        if byte_range:
            headers["Range"] = byte_range
        with explained(where):
            # Redirects would lead anywhere, so none is followed. A source may send 1xx answers for ever without
            # being idle, hence the limit on the whole time.
            async with asyncio.timeout(self._settings.connect_s + self._settings.idle_s):
                response = await self._opened().request(
                    method,
                    url,
                    headers=headers,
                    data=io.BytesIO(body) if body else None,
                    allow_redirects=False,
                )
            try:
                if response.status not in {200, 206}:
                    raise await _refusal(where, response)
                if response.content_type != content_type:
                    raise SourceInvalid(f"{where}: answered {response.content_type[:100]!a}, not {content_type!r}")
                if "Content-Encoding" in response.headers:
                    raise SourceInvalid(f"{where}: answered with a content encoding nobody asked for")
                yield response
            finally:
                response.release()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_S),
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=self._settings.connect_s, sock_read=self._settings.idle_s
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                headers={"Accept-Encoding": "identity", "User-Agent": "librarian"},
                read_bufsize=_READ_BYTES,
                trust_env=False,
            )
        return self._session

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def _url(where: str, address: str, target: str) -> URL:
    match = _AUTHORITY.match(address)
    if match is None or int(match["port"]) > 65535:
        raise SourceInvalid(f"{where}: the address is not HOST:PORT", hint="set data.advertise at that site")
    # What goes over the wire must be what was signed, hence `encoded`.
    return URL(f"http://{address}{target}", encoded=True)


@contextmanager
def explained(where: str) -> Generator[None]:
    """Turn what aiohttp raises into the TransferError that it means."""
    try:
        yield
    except aiohttp.ConnectionTimeoutError as exc:
        raise SourceUnreachable(f"{where}: no connection: {exc}") from exc
    except TimeoutError as exc:
        raise TransferTimeout(f"{where}: silent for too long") from exc
    except (aiohttp.ClientResponseError, aiohttp.InvalidURL) as exc:
        raise SourceInvalid(f"{where}: did not answer in HTTP: {str(exc)[:MAX_MESSAGE_CHARACTERS]}") from exc
    except (aiohttp.ClientError, OSError) as exc:
        raise SourceUnreachable(f"{where}: {exc}") from exc


def spoken(code: str, message: str) -> TransferError:
    """The error that a source named, in its own words, made safe to print."""
    words = _UNPRINTABLE.sub("?", message[:MAX_MESSAGE_CHARACTERS])
    error = _SPOKEN.get(code)
    if error is None:
        return SourceInvalid(f"the source answered with the error {code[:8]!a}: {words}")
    return error(f"the source says: {words}")


async def _refusal(where: str, response: aiohttp.ClientResponse) -> TransferError:
    raw = await response.content.read(_ERROR_BYTES)
    try:
        message = _ERROR_BODY.decode(raw).message
    except wire.NOT_DECODABLE:
        message = response.reason or ""
    words = f"{where}: {response.status}: {_UNPRINTABLE.sub('?', message[:MAX_MESSAGE_CHARACTERS])}"
    if response.status in {401, 403}:
        return SourceRefused(words, hint="check that both sites list one another: `lbctl site list` at both")
    if response.status == 404:
        return SourceMissing(words)
    if response.status in {429, 503}:
        return SourceUnreachable(words)
    return SourceInvalid(words)
