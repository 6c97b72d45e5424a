"""Which addresses mean this machine and nothing else, and at which no other site can stand."""

from __future__ import annotations

import ipaddress

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: "This network" (RFC 1122): Linux takes 0.0.0.0 for the machine itself.
_THIS = ipaddress.IPv4Network("0.0.0.0/8")
#: IPv6 addresses whose last 32 bits are an IPv4 address: NAT64 (RFC 6052), and the old form ::a.b.c.d (RFC 4291).
_EMBEDDING = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))


def is_loopback(host: str) -> bool:
    """Whether a host, as written in an address (``localhost``, ``127.0.0.1``, ``[::1]``), is this machine.

    Other names are not resolved, so they are not.
    """
    host = host.removeprefix("[").removesuffix("]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def not_dialled(address: str, *, loopback: bool) -> str:
    """Why no other site is dialled at an IP address; "" where one may be.

    Args:
        address: as it is dialled, after names were resolved: ``192.0.2.1``, ``2001:db8::1``, ``fe80::1%eth0``.
        loopback: whether the other sites stand on this machine.
    """
    try:
        given = ipaddress.ip_address(address)
    except ValueError:
        return "it is not written as an IP address"
    meant = _meant(given)
    if meant.is_loopback:
        return "" if loopback else "it is this machine's own loopback address"
    if meant.is_unspecified or (meant.version == 4 and meant in _THIS):
        return "it is the unspecified address, which means this machine"
    if meant.is_link_local:
        return "it is a link-local address"
    if meant.is_multicast:
        return "it is a multicast address"
    if meant.is_reserved:
        return "it is a reserved address"
    return ""


def _meant(address: _Address) -> _Address:
    """The IPv4 address that an IPv6 address leads to, where it does; else the address itself."""
    if isinstance(address, ipaddress.IPv4Address) or address.is_loopback or address.is_unspecified:
        return address
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address.teredo is not None:
        inner = address.teredo[1]
    if inner is None and any(address in network for network in _EMBEDDING):
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return inner or address
