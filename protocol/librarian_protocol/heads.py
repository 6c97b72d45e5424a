"""Heads: which journal ends a site holds, signed and announced every 30 s (docs/events.md).

A site names *every leaf* of every journal that it holds: a segment that no other one names as its predecessor. One
head a site would hide a branch that was lost. Whoever is behind asks for what is missing, so that a loss of the bus
costs latency and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from librarian_protocol import wire
from librarian_protocol.entries import IncarnationId, Seq
from librarian_protocol.errors import SegmentInvalid
from librarian_protocol.keys import Purpose, SiteKey, verify
from librarian_protocol.names import SiteName
from librarian_protocol.segments import Hash

VERSION = 1
#: 50 sites with the 8 branches that need an administrator are 400 leaves of about 150 bytes.
MAX_LEAVES = 1024
MAX_HEADS_BYTES = 256 * 1024


class Leaf(msgspec.Struct, frozen=True, kw_only=True):
    """One end of one site's journal: the last entry of a segment that nothing held continues."""

    site: SiteName
    epoch: Seq
    incarnation: IncarnationId
    seq: Seq
    #: Of the segment.
    hash: Hash


class Heads(msgspec.Struct, frozen=True, kw_only=True):
    """All leaves that one site holds."""

    v: int
    #: Who holds them.
    site: SiteName
    at: Annotated[str, Meta(max_length=40)]
    leaves: Annotated[list[Leaf], Meta(max_length=MAX_LEAVES)]


class _Signed(msgspec.Struct, frozen=True, kw_only=True):
    heads: str
    signature: str


_SIGNED = wire.decoder(_Signed)
_HEADS = wire.decoder(Heads)


def seal(site: SiteName, leaves: Sequence[Leaf], at: str, key: SiteKey) -> bytes:
    """The message that announces them."""
    raw = wire.encode(Heads(v=VERSION, site=site, at=at, leaves=list(leaves)))
    return wire.encode(_Signed(heads=raw.decode(), signature=key.sign(Purpose.HEAD, raw)))


def open_signed(message: bytes, *, site: SiteName, key: str) -> Heads:
    """Decode heads that must come from ``site``, whose key the roster gives as ``key``.

    Raises:
        SegmentInvalid: too large, malformed, of another version, or of another site.
        SignatureInvalid: not signed by that key.
    """
    if len(message) > MAX_HEADS_BYTES:
        raise SegmentInvalid(f"heads have {len(message)} bytes; {MAX_HEADS_BYTES} are allowed")
    try:
        signed = _SIGNED.decode(message)
        raw = signed.heads.encode()
        verify(key, Purpose.HEAD, raw, signed.signature)
        heads = _HEADS.decode(raw)
    except wire.NOT_DECODABLE as exc:
        raise SegmentInvalid(f"heads do not decode: {wire.why(exc)}") from exc
    if heads.v != VERSION:
        raise SegmentInvalid(f"heads are of version {heads.v}; this software reads version {VERSION}")
    if heads.site != site:
        raise SegmentInvalid(f"heads of site {heads.site!r} arrived as those of site {site!r}")
    return heads
