"""Signed requests to the data plane of another site, and what their failures mean."""

from __future__ import annotations

import asyncio
import io
import re
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated

import aiohttp
import msgspec
from msgspec import Meta

from librarian_adapters.contract import Buffer, Signer
from librarian_adapters.http.address import Identities, guarded, url_of
from librarian_adapters.http.bundle import MAX_ITEM_BYTES, MAX_ITEMS, MAX_MESSAGE_CHARACTERS
from librarian_adapters.http.patience import Patience
from librarian_protocol import wire
from librarian_protocol.api import ErrorBody
from librarian_protocol.errors import (
    NotOffered,
    SizeMismatch,
    SourceIdentity,
    SourceInvalid,
    SourceMissing,
    SourceRefused,
    SourceUnreachable,
    TransferError,
    TransferTimeout,
    by_code,
)
from librarian_protocol.names import SiteName

_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\U0010ffff]")
#: The most of an error's body that is read.
_ERROR_BYTES = 16 << 10
_ERROR_BODY = wire.decoder(ErrorBody)
#: What a source may say of an item; anything else it says is outside the protocol.
_SPOKEN: dict[str, type[TransferError]] = {
    error.code: error
    for error in (SourceMissing, SizeMismatch, SourceUnreachable, SourceRefused, SourceInvalid, NotOffered)
}
#: A pooled connection is given up well before the source closes it for being idle.
_KEEPALIVE_S = 2.0
_READ_BYTES = 1 << 20
_UNSENT_BYTES = 128 << 10


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[adapters.http]``."""

    #: Items of this size and larger ones have a request of their own, and are resumed.
    large_from_bytes: Annotated[int, Meta(ge=0, le=MAX_ITEM_BYTES)] = 1 << 20
    bundle_files: Annotated[int, Meta(ge=1, le=MAX_ITEMS)] = MAX_ITEMS
    bundle_bytes: Annotated[int, Meta(ge=1)] = 64 << 20
    #: Requests at the same time, for each batch.
    requests: Annotated[int, Meta(ge=1, le=16)] = 4
    connect_s: Annotated[float, Meta(gt=0, le=600)] = 4.0
    #: Silence that is borne at first before and between the bytes of an answer (see patience.py). A dead link is silent
    #: too.
    idle_s: Annotated[float, Meta(gt=0, le=3600)] = 6.0
    #: How long a source that cannot be dialled has to begin after it was asked by mail.
    push_s: Annotated[float, Meta(gt=0, le=3600)] = 30.0


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """A request's body that comes in chunks of at most 1 MiB."""

    content_type: str
    #: None where it is not known before.
    size_bytes: int | None
    chunks: AsyncIterator[Buffer]


class HttpClient:
    """Sends requests. Opens its first connection when the first one is sent."""

    def __init__(self, sign: Signer, settings: HttpSettings, identities: Identities, *, loopback: bool) -> None:
        """``loopback``: whether the other sites stand on this machine; else its loopback addresses are not dialled."""
        self._sign = sign
        self._settings = settings
        self._identities = identities
        self._session: aiohttp.ClientSession | None = None
        self._patience = Patience()
        self._loopback = loopback

    @asynccontextmanager
    async def request(
        self,
        site: SiteName,
        address: str,
        method: str,
        target: str,
        *,
        content_type: str,
        byte_range: str = "",
        body: bytes = b"",
        stream: Stream | None = None,
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """Send a signed request to a site at its address of the roster; the answer, its status 200 or 206, body unread.

        A ``stream`` is sent as the body, and is not signed: what it brings is checked by digest.
        Whatever fails while the body is read is explained in the same way.

        Raises:
            SourceUnreachable: no connection, or it broke, or the source is busy.
            SourceRefused: 401 or 403, with the source's words.
            SourceMissing: 404.
            NotOffered: 403, and the source says that it holds it.
            SourceIdentity: the certificate is not the one of that site; nothing was sent.
            SourceInvalid: any other answer, redirects included, or not HTTP, or not of ``content_type``.
            TransferTimeout: silence.
        """
        where = f"site {site} at {address[:300]!a}"
        url = url_of(where, address, target, loopback=self._loopback)
        identity = self._identities.check_for(where, site) if url.scheme == "https" else True
        headers = self._sign(source=site, method=method, target=target, range=byte_range, body=body)
        if byte_range:
            headers["Range"] = byte_range
        borne = self._patience.factor(site)
        idle_s = borne * self._settings.idle_s
        with self._noticing(site, borne), explained(where):
            # Redirects would lead anywhere, so none is followed. A source may send 1xx answers for ever without
            # being idle, hence the limit on the whole time.
            timer = asyncio.timeout(self._settings.connect_s + idle_s)
            async with timer:
                data: AsyncIterator[Buffer] | io.BytesIO | None = io.BytesIO(body) if body else None
                if stream is not None:
                    headers["Content-Type"] = stream.content_type
                    if stream.size_bytes is not None:
                        headers["Content-Length"] = str(stream.size_bytes)
                    data = _watched(stream.chunks, timer, idle_s)
                response = await self._opened().request(
                    method,
                    url,
                    headers=headers,
                    data=data,
                    allow_redirects=False,
                    ssl=identity,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._settings.connect_s, sock_read=idle_s),
                )
            try:
                if response.status not in {200, 206}:
                    raise await _refusal(where, response)
                if response.content_type != content_type:
                    raise SourceInvalid(f"{where}: does not answer in {content_type!r}")
                if "Content-Encoding" in response.headers:
                    raise SourceInvalid(f"{where}: answered with a content encoding nobody asked for")
                yield response
            finally:
                if stream is None:
                    response.release()
                else:
                    response.close()  # the other side may have answered before it had everything

    @contextmanager
    def _noticing(self, site: SiteName, borne: float) -> Generator[None]:
        """Whether the site was silent for the whole time that was borne."""
        try:
            yield
        except TransferTimeout:
            self._patience.silent(site, borne)
            raise
        self._patience.answered(site)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=guarded(loopback=self._loopback, make=_unbuffered, limit=0, keepalive_timeout=_KEEPALIVE_S),
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


async def _watched(chunks: AsyncIterator[Buffer], timer: asyncio.Timeout, idle_s: float) -> AsyncGenerator[Buffer]:
    """The chunks; the other side must take each in time."""

    def put_off() -> None:
        # aiohttp asks for chunks in a task of its own: that one may go on for a moment when the time is up.
        if not timer.expired():
            timer.reschedule(asyncio.get_running_loop().time() + idle_s)

    async for chunk in chunks:
        put_off()
        yield chunk
    put_off()


def _unbuffered(family: int, kind: int, protocol: int) -> socket.socket:
    """A socket that keeps little unsent: what a dying link takes along of a push is sent again."""
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
    except OSError:
        sock.close()
        raise
    return sock


@contextmanager
def explained(where: str) -> Generator[None]:
    """Turn what aiohttp raises into the TransferError that it means."""
    try:
        yield
    except (aiohttp.ServerFingerprintMismatch, aiohttp.ClientConnectorCertificateError) as exc:
        raise SourceIdentity(
            f"{where}: another certificate answers than the one of that site",
            hint="has its newest announcement arrived? does something stand between the two sites?",
        ) from exc
    except aiohttp.ClientConnectorSSLError as exc:
        raise SourceIdentity(
            f"{where}: no TLS connection: {exc.os_error}", hint="does that site, or something else, answer there?"
        ) from exc
    except aiohttp.ConnectionTimeoutError as exc:
        raise SourceUnreachable(f"{where}: no connection: {exc}") from exc
    except TimeoutError as exc:
        raise TransferTimeout(f"{where}: silent for too long") from exc
    except (aiohttp.ClientResponseError, aiohttp.InvalidURL) as exc:
        # What else answers there is nobody's business: its words are not passed on.
        raise SourceInvalid(f"{where}: did not answer in HTTP") from exc
    except aiohttp.ClientPayloadError as exc:
        raise SourceUnreachable(f"{where}: the answer broke off") from exc
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
    """What another status than 200 and 206 means.

    Of the answer's text only what has the form of our own errors is passed on, bounded: whatever else may answer at an
    address, its words do not come into the journal.
    """
    raw = await response.content.read(_ERROR_BYTES)
    words, code = f"{where}: answered {response.status}", ""
    try:
        error = _ERROR_BODY.decode(raw)
    except wire.NOT_DECODABLE:
        pass
    else:
        if error.code in by_code():
            code = error.code
            words = f"{words}, {code}: {_UNPRINTABLE.sub('?', error.message[:MAX_MESSAGE_CHARACTERS])}"
    if 300 <= response.status < 400:
        return SourceInvalid(f"{words}: redirects are not followed", hint="does a proxy stand before that site?")
    if response.status == 403 and code == NotOffered.code:
        return NotOffered(words)
    if response.status in {401, 403}:
        return SourceRefused(words, hint="check that both sites list one another: `lbctl site list` at both")
    if response.status == 404:
        return SourceMissing(words)
    if response.status in {429, 503}:
        return SourceUnreachable(words)
    return SourceInvalid(words)
