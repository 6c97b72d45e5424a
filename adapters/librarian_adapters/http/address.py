"""Where another site is dialled: its address as the roster gives it, and how its certificate is checked (ADR 0016)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import socket
import ssl
from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from librarian_protocol.errors import ConfigInvalid, SourceIdentity, SourceInvalid
from librarian_protocol.loopback import not_dialled
from librarian_protocol.names import SiteName

_ADDRESS = re.compile(
    r"(?P<scheme>https?://)?(?P<host>\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9._-]{1,253}):(?P<port>[0-9]{1,5})/?\Z"
)
#: What aiohttp hands to the system as an address, unresolved: 127.1 and 2130706433 are such.
_NUMERIC = re.compile(r"[0-9.]+\Z|.*:")


def url_of(where: str, address: str, target: str, *, loopback: bool) -> URL:
    """The URL of a target at ``[http://|https://]HOST:PORT``; without a scheme it is plain HTTP.

    ``loopback``: whether the other sites stand on this machine. A name is looked at when it is resolved.

    Raises:
        SourceInvalid: it is not such an address, or one that no site can have.
    """
    match = _ADDRESS.match(address)
    if match is None or not 0 < int(match["port"]) < 65536:
        raise SourceInvalid(f"{where}: the address is not HOST:PORT", hint="set data.advertise at that site")
    host = match["host"].strip("[]")
    if _NUMERIC.match(host):
        refuse(where, host, loopback=loopback)
    # What goes over the wire must be what was signed, hence `encoded`.
    return URL(f"{match['scheme'] or 'http://'}{match['host']}:{match['port']}{target}", encoded=True)


def refuse(where: str, address: str, *, loopback: bool) -> None:
    """Refuse to dial an IP address at which no other site can stand, and something else may.

    Raises:
        SourceInvalid: it is such a one.
    """
    if why := not_dialled(address, loopback=loopback):
        raise SourceInvalid(
            f"{where}: {address[:50]!a} is not dialled: {why}",
            hint="set data.advertise there; where all sites run on one machine, data.loopback_peers here",
        )


class GuardedResolver(AbstractResolver):
    """Resolves names, and refuses those that lead to an address that is not dialled.

    What it answers is what is dialled: a name that is resolved anew for each connection gains nothing by changing.
    """

    def __init__(self, *, loopback: bool) -> None:
        self._inner = ThreadedResolver()
        self._loopback = loopback

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a host."""
        found = await self._inner.resolve(host, port, family)
        for entry in found:
            refuse(f"{host[:300]!a}", entry["host"], loopback=self._loopback)
        return found

    async def close(self) -> None:
        """Nothing to close."""
        await self._inner.close()


def guarded(
    *, loopback: bool, make: Callable[..., socket.socket] = socket.socket, **options: Any
) -> aiohttp.TCPConnector:
    """A connector that dials no address at which no other site can stand.

    The name is looked at when it is resolved, and the address once more when its socket is made.

    Args:
        loopback: whether the other sites stand on this machine.
        make: the socket, from family, type and protocol.
        options: as :class:`aiohttp.TCPConnector` has them.
    """

    def looked_at(address: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, (host, *_) = address
        refuse("data address", str(host), loopback=loopback)
        sock = make(family, kind, protocol)
        sock.setblocking(False)
        return sock

    return aiohttp.TCPConnector(
        resolver=GuardedResolver(loopback=loopback), use_dns_cache=False, socket_factory=looked_at, **options
    )


class Identities:
    """How to check the certificate at an address: pinned from the roster, else by the configured authority."""

    def __init__(self, certificate: Callable[[SiteName], str | None], ca_file: str) -> None:
        """Raises ConfigInvalid: the authority's certificates cannot be read."""
        self._certificate = certificate
        self._authority: ssl.SSLContext | None = None
        #: By certificate, because connections are kept by the identity of this object.
        self._pins: dict[str, aiohttp.Fingerprint] = {}
        if ca_file:
            try:
                self._authority = ssl.create_default_context(cafile=ca_file)
            except (OSError, ssl.SSLError) as exc:
                raise ConfigInvalid(f"tls.ca_file: {ca_file!r} cannot be read: {exc}") from exc

    def check_for(self, where: str, site: SiteName) -> aiohttp.Fingerprint | ssl.SSLContext:
        """What the TLS connection to a site is checked with: exactly its certificate, before a byte is sent.

        Read anew for each request: a certificate that was announced since is followed at once.

        Raises:
            SourceIdentity: it announces no certificate, or no sound one, and no authority is configured.
        """
        text = self._certificate(site)
        if text is None:
            if self._authority is None:
                raise SourceIdentity(
                    f"{where}: it speaks TLS, announces no certificate to pin, and no authority is configured here",
                    hint="set tls.ca_file to the authority that signed its certificate",
                )
            return self._authority
        pin = self._pins.get(text)
        if pin is None:
            try:
                der = base64.b64decode(text, validate=True)
            except binascii.Error as exc:
                raise SourceIdentity(f"{where}: the certificate that it announces is not base64") from exc
            if len(self._pins) >= 1000:
                self._pins.clear()
            pin = self._pins[text] = aiohttp.Fingerprint(hashlib.sha256(der).digest())
        return pin
