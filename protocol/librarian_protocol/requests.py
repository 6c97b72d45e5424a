"""Signed data requests: proof that the site which asks for bytes is the one it says (docs/architecture.md).

The destination signs, with its site key, what it asks of whom and until when. A captured request can be
repeated only at the same source, for the same bytes, for a short while; there are no secrets shared between
sites.

The body's hash is declared in a header, and the declaration is what is signed. So a source knows who asks before it
reads a byte of the body: :func:`check` comes first, :func:`check_body` when the body is there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec
from blake3 import blake3

from librarian_protocol.errors import RequestRefused, SignatureInvalid, SiteNameInvalid
from librarian_protocol.keys import Purpose, SiteKey, verify
from librarian_protocol.names import SiteName

SITE_HEADER = "Lb-Site"
EXPIRES_HEADER = "Lb-Expires"
BODY_HEADER = "Lb-Body"
SIGNATURE_HEADER = "Lb-Signature"
#: How long a request is good for when it is made.
LIFETIME_S = 120
#: What a source accepts at most, to bound what a wrong clock or a long-dated request can do.
LONGEST_S = 600

_HASH = re.compile(r"[0-9a-f]{64}\Z")
_SECONDS = re.compile(r"-?[0-9]{1,18}\Z")
#: In the place of a key that the roster does not have: whose name is unknown waits as long for an answer as others.
_NOBODY = "ed25519:3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"


class RequestUnproven(RequestRefused):
    """Nothing shows that a site of the roster asks. What is wrong is for our own log; the asker is not told."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is signed. ``target`` is path and query as on the request line, ``range`` the header's text."""

    source: SiteName
    destination: SiteName
    method: str
    target: str
    range: str
    body: bytes
    expires: int

    def payload(self) -> bytes:
        """The bytes under the signature."""
        return _payload(
            self.source, self.destination, self.method, self.target, self.range, self.expires, _hash(self.body)
        )


def _payload(
    source: SiteName, destination: SiteName, method: str, target: str, byte_range: str, expires: int, body_hash: str
) -> bytes:
    """One line a field, the body as its hash."""
    return "\n".join((source, destination, method, target, byte_range, str(expires), body_hash)).encode()


def _hash(body: bytes) -> str:
    return blake3(body).hexdigest()


def sign(request: Request, key: SiteKey) -> dict[str, str]:
    """The headers to send with the request."""
    return {
        SITE_HEADER: request.destination,
        EXPIRES_HEADER: str(request.expires),
        BODY_HEADER: _hash(request.body),
        SIGNATURE_HEADER: key.sign(Purpose.REQUEST, request.payload()),
    }


def check(
    headers: Mapping[str, str],
    *,
    source: SiteName,
    method: str,
    target: str,
    range: str,  # noqa: A002 -- the name of the field and of the HTTP header
    now: int,
    roster: Mapping[SiteName, str],
) -> SiteName:
    """The site that signed the request, which may have any body until :func:`check_body` has seen it.

    ``now`` is seconds since 1970; ``roster`` gives the key of each admitted site.

    Raises:
        RequestUnproven: a header is missing or malformed, the site is not admitted, or the signature does not fit.
        RequestRefused: the request is too old or too long-dated; who asks is proven.
    """
    site, expires, body_hash, signature = _headers(headers)
    key = roster.get(site)
    shown = method + target + range
    if "\n" in shown or not shown.isascii():
        raise RequestUnproven(
            f"request of site {site!r} has a line feed, or not only ASCII, in its method, target or range"
        )
    payload = _payload(source, site, method, target, range, expires, body_hash)
    fault = ""
    try:
        verify(key or _NOBODY, Purpose.REQUEST, payload, signature)
    except SignatureInvalid as exc:
        fault = exc.message
    if key is None:
        raise RequestUnproven(f"site {site!r} is not admitted here")
    if fault:
        raise RequestUnproven(f"request of site {site!r}: {fault}")
    if not now <= expires <= now + LONGEST_S:
        raise RequestRefused(
            f"request of site {site!r} is good until {expires}; the clock here says {now}",
            hint=f"the two clocks must agree to within {LIFETIME_S} s",
        )
    return site


def _headers(headers: Mapping[str, str]) -> tuple[SiteName, int, str, str]:
    """Who asks, until when, the body's hash, the signature; each in its form."""
    try:
        site = SiteName.parse(headers.get(SITE_HEADER, ""))
    except SiteNameInvalid as exc:
        raise _malformed(SITE_HEADER) from exc
    expires, body_hash, signature = (headers.get(key, "") for key in (EXPIRES_HEADER, BODY_HEADER, SIGNATURE_HEADER))
    if not _SECONDS.match(expires):
        raise _malformed(EXPIRES_HEADER)
    if not _HASH.match(body_hash):
        raise _malformed(BODY_HEADER)
    if not signature:
        raise _malformed(SIGNATURE_HEADER)
    return site, int(expires), body_hash, signature


def _malformed(header: str) -> RequestUnproven:
    return RequestUnproven(f"request is not signed: header {header!r} is missing or malformed")


def check_body(headers: Mapping[str, str], body: bytes) -> None:
    """The body is the one that was declared, in headers that :func:`check` found good.

    Raises:
        RequestRefused: it is another.
    """
    if headers.get(BODY_HEADER) != _hash(body):
        raise RequestRefused(f"the request's body is not the one declared in its header {BODY_HEADER!r}")
