"""``HOST:PORT``, brackets around an IPv6 host."""

from __future__ import annotations

from librarian_protocol.errors import ConfigInvalid

#: Addresses that are listened on and cannot be dialled, and what reaches them from the same machine.
WILDCARD_HOSTS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def host_port(text: str, key: str) -> tuple[str, int]:
    """Host and port; ``key`` is the setting's name.

    Raises:
        ConfigInvalid: it is not of that form.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise ConfigInvalid(f"bus.{key} is {text!r}, not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def joined(host: str, port: int) -> str:
    """The text again."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
