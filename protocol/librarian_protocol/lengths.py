"""Lengths of time as people write them."""

from __future__ import annotations

import re

from librarian_protocol.errors import ArgumentInvalid

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LENGTH = re.compile(r"(?:[0-9]{1,9}[smhd])+")


def seconds_of(text: str) -> int:
    """Seconds of ``90s``, ``45m``, ``2h``, ``1d12h``.

    Raises:
        ArgumentInvalid: it is written otherwise.
    """
    if _LENGTH.fullmatch(text) is None:
        raise ArgumentInvalid(f"{text[:40]!a} is no length of time", hint="write 45m, 2h, 3d or 1d12h")
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9]+)([smhd])", text))
