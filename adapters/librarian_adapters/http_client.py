"""Signed requests to the data plane of another site, and what their failures mean."""

from __future__ import annotations

import asyncio
import io
import re
import ssl
from collections.abc import AsyncGenerator, Callable, Generator
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
from librarian_protocol.names import SiteName

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

    def __init__(
        self, sign: Signer, settings: HttpSettings, certificate: Callable[[SiteName], str | None] = lambda _: None
    ) -> None:
        self._sign = sign
        self._settings = settings
        self._certificate = certificate
        #: By certificate: a changed one is followed without a restart.
        self._pins: dict[str, ssl.SSLContext] = {}
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
        pin = self._pin(where, batch) if batch.offer.params.get("tls") else None
        url = _url(where, batch.offer.address, target, "http" if pin is None else "https")
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
                    ssl=True if pin is None else pin,
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

    def _pin(self, where: str, batch: Batch) -> ssl.SSLContext:
        """A context that trusts the one certificate that the source announced, whatever name it bears.

        Raises:
            SourceRefused: it announced none. Nothing is ever fetched without TLS from a site that offers it.
        """
        pem = self._certificate(batch.source)
        if pem is None:
            raise SourceRefused(f"{where}: offers TLS, and its certificate is not known here", hint=_IDENTITY)
        if pem not in self._pins:
            if len(self._pins) >= _PINS:
                self._pins.clear()
            self._pins[pem] = pinned(pem)
        return self._pins[pem]

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


_IDENTITY = "`lbctl site list` at both; whoever answers there is not the site that the roster knows, or it changed"
#: Contexts held at once: one for each site, and a few old ones.
_PINS = 256


def pinned(pem: str) -> ssl.SSLContext:
    """A client's context that trusts exactly this certificate, self-signed or not, for any host name."""
    context = ssl.create_default_context(cadata=pem)
    context.check_hostname = False
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # The certificate itself is the anchor; it need not be an authority's.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _url(where: str, address: str, target: str, scheme: str) -> URL:
    match = _AUTHORITY.match(address)
    if match is None or int(match["port"]) > 65535:
        raise SourceInvalid(f"{where}: the address is not HOST:PORT", hint="set data.advertise at that site")
    # What goes over the wire must be what was signed, hence `encoded`.
    return URL(f"{scheme}://{address}{target}", encoded=True)


@contextmanager
def explained(where: str) -> Generator[None]:
    """Turn what aiohttp raises into the TransferError that it means."""
    try:
        yield
    except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as exc:
        raise SourceRefused(f"{where}: is not who it should be: {str(exc)[:300]}", hint=_IDENTITY) from exc
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
