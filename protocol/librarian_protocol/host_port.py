"""``HOST:PORT``, brackets around an IPv6 host."""

from __future__ import annotations

import re

_HOST_PORT = re.compile(r"(\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<host>[^\s:/@\[\]]+)):(?P<port>\d{1,5})\Z", re.ASCII)
#: Hosts that are listened on and cannot be dialled, and what reaches them from the same machine.
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def parse(text: str, least_port: int = 0) -> tuple[str, int]:
    """The host, without brackets, and the port, ``least_port`` to 65535.

    Raises:
        ValueError: it is not of that form.
    """
    found = _HOST_PORT.match(text)
    if found is None or not least_port <= int(found["port"]) <= 65535:
        raise ValueError(f"{text!r} is not of the form HOST:PORT")
    return found["six"] or found["host"], int(found["port"])


def joined(host: str, port: int) -> str:
    """The inverse of :func:`parse`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
