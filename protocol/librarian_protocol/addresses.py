"""Which addresses mean this machine and nothing else."""

from __future__ import annotations

import ipaddress


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
