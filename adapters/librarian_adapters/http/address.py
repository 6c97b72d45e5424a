"""Where another site is dialled: its address as the roster gives it, and how its certificate is checked (ADR 0016)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import re
import socket
import ssl
from collections.abc import Callable

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from librarian_protocol.errors import ConfigInvalid, SourceIdentity, SourceInvalid
from librarian_protocol.names import SiteName

_ADDRESS = re.compile(
    r"(?P<scheme>https?://)?(?P<host>\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9._-]{1,253}):(?P<port>[0-9]{1,5})/?\Z"
)


def url_of(where: str, address: str, target: str) -> URL:
    """The URL of a target at ``[http://|https://]HOST:PORT``; without a scheme it is plain HTTP.

    Raises:
        SourceInvalid: it is not such an address, or one that no site can have.
    """
    match = _ADDRESS.match(address)
    if match is None or not 0 < int(match["port"]) < 65536:
        raise SourceInvalid(f"{where}: the address is not HOST:PORT", hint="set data.advertise at that site")
    refuse_special(where, match["host"].strip("[]"))
    # What goes over the wire must be what was signed, hence `encoded`.
    return URL(f"{match['scheme'] or 'http://'}{match['host']}:{match['port']}{target}", encoded=True)


def refuse_special(where: str, host: str) -> None:
    """Refuse addresses that no data address has, and that something else on this machine's network may.

    Raises:
        SourceInvalid: link-local, multicast, unspecified or reserved. Names pass: what they resolve to is looked at.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return
    inner = getattr(address, "ipv4_mapped", None) or address
    if inner.is_link_local or inner.is_multicast or inner.is_unspecified or (inner.version == 4 and inner.is_reserved):
        raise SourceInvalid(f"{where}: {host} is an address that no site can have", hint="set data.advertise there")


class GuardedResolver(AbstractResolver):
    """Resolves names, and refuses what :func:`refuse_special` does: a name may be made to lead anywhere."""

    def __init__(self) -> None:
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a host."""
        found = await self._inner.resolve(host, port, family)
        for one in found:
            refuse_special(host[:300], one["host"])
        return found

    async def close(self) -> None:
        """Nothing to close."""
        await self._inner.close()


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
