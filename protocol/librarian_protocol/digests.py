"""Digests: ``<algorithm>:<lower-case hex>``. The identity of a file is its blake3 digest."""

from __future__ import annotations

import re
from typing import Self

from blake3 import blake3

from librarian_protocol.errors import DigestInvalid

#: Length in hex digits of each algorithm we carry; only blake3 is ever an identity.
HEX_DIGITS = {"blake3": 64, "sha256": 64, "sha512": 128, "sha1": 40, "md5": 32, "adler32": 8, "xxh3": 16}
_FORM = re.compile(r"([a-z0-9]+):([0-9a-f]+)\Z")
#: Nearly every digest is one: each entry and each request for a file has it.
_IDENTITY = re.compile(r"blake3:[0-9a-f]{64}\Z")


class Digest(str):
    """A checked ``<algorithm>:<hex>``. Make one with :meth:`parse` or :meth:`blake3` only."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: str) -> Self:
        """Check algorithm, alphabet and length.

        Raises:
            DigestInvalid: which of them is wrong.
        """
        if _IDENTITY.match(raw):
            return cls(raw)
        match = _FORM.match(raw)
        if match is None:
            raise DigestInvalid(f"digest {ascii(raw)[:120]} is not of the form <algorithm>:<lower-case hex>")
        algorithm, digits = match.groups()
        if algorithm not in HEX_DIGITS:
            raise DigestInvalid(f"digest algorithm {algorithm[:40]!r} is not one of {', '.join(sorted(HEX_DIGITS))}")
        if len(digits) != HEX_DIGITS[algorithm]:
            raise DigestInvalid(
                f"a {algorithm} digest has {HEX_DIGITS[algorithm]} hex digits, this one has {len(digits)}"
            )
        return cls(raw)

    @classmethod
    def blake3(cls, data: bytes | bytearray | memoryview) -> Self:
        """The blake3 digest of bytes that are held in memory."""
        return cls(f"blake3:{blake3(data).hexdigest()}")

    @property
    def algorithm(self) -> str:
        """The part before the colon."""
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        """The part after the colon."""
        return self.partition(":")[2]
