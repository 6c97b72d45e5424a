"""Sizes as people write them."""

from __future__ import annotations

import re

from librarian_protocol.entries import MAX_SIZE_BYTES
from librarian_protocol.errors import ArgumentInvalid

_UNITS: dict[str, int] = {
    "": 1,
    "B": 1,
    **{f"{letter}iB": 1024**power for power, letter in enumerate("KMGTP", start=1)},
    **{f"{letter}B": 1000**power for power, letter in enumerate("kMGTP", start=1)},
}
_SIZE = re.compile(r"([0-9]{1,16}) ?([kKMGTP]?i?B|)", re.ASCII)


def bytes_of(text: str) -> int:
    """Bytes of ``1500``, ``50GiB``, ``2TB``.

    Raises:
        ArgumentInvalid: it is written otherwise, or beyond the largest file.
    """
    found = _SIZE.fullmatch(text)
    unit = None if found is None else _UNITS.get(found[2])
    if found is None or unit is None:
        raise ArgumentInvalid(f"{text[:40]!a} is no size", hint="write 1500, 50GiB or 2TB")
    size_bytes = int(found[1]) * unit
    if size_bytes > MAX_SIZE_BYTES:
        raise ArgumentInvalid(f"{text!a} is more than any file can have", hint=f"{MAX_SIZE_BYTES} bytes at most")
    return size_bytes
