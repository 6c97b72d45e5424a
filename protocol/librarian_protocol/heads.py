"""Heads: which journal tips a site holds, signed and announced every 30 s (docs/events.md).

A site names every *tip* of every journal that it holds: a segment that no other segment names as its predecessor. With
one head for each site, a lost branch would go unnoticed. A site that is behind asks for what is missing, so a loss on
the bus costs latency and nothing else. The field is called ``leaves`` on the wire.
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
#: 50 sites with the 8 branches that need an administrator are 400 tips of about 150 bytes.
MAX_TIPS = 1024
MAX_HEADS_BYTES = 256 * 1024
MAX_EVERY_MS = 86_400_000
MAX_WAITS, MAX_WAITS_LENGTH = 8, 200
MAX_WHY = 200
#: Of both lists together: with the quotes of the outer JSON, heads stay below their bound.
MAX_HELD_BACK = 64


class Tip(msgspec.Struct, frozen=True, kw_only=True):
    """One end of one site's journal: the last entry of a segment that nothing held continues."""

    site: SiteName
    epoch: Seq
    incarnation: IncarnationId
    seq: Seq
    #: Of the segment.
    hash: Hash


class HeldBack(msgspec.Struct, frozen=True, kw_only=True):
    """A journal that its reader does not apply any further."""

    site: SiteName
    #: The last entry that counts there; 0: none.
    seq: Seq
    why: Annotated[str, Meta(max_length=MAX_WHY)]


class Heads(msgspec.Struct, frozen=True, kw_only=True):
    """All tips that one site holds."""

    v: int
    #: Who holds them.
    site: SiteName
    at: Annotated[str, Meta(max_length=40)]
    leaves: Annotated[list[Tip], Meta(max_length=MAX_TIPS)]
    #: How often it tells them: whoever hears nothing for three times as long calls it silent.
    every_ms: Annotated[int, Meta(ge=1, le=MAX_EVERY_MS)] = 30_000
    #: Of the daemon that tells them: another one than its own shows a site that it has a twin.
    incarnation: Annotated[str, Meta(max_length=16)] = ""
    #: What its recovery waits for, for people; empty where its catalog is whole.
    recovering: Annotated[list[Annotated[str, Meta(max_length=MAX_WAITS_LENGTH)]], Meta(max_length=MAX_WAITS)] = []
    #: Sites whose journals do not advance there. So a site learns that others refuse its segments.
    held_back: Annotated[list[HeldBack], Meta(max_length=MAX_TIPS)] = []


class _Signed(msgspec.Struct, frozen=True, kw_only=True):
    heads: str
    signature: str


_SIGNED = wire.decoder(_Signed)
_HEADS = wire.decoder(Heads)


def seal(
    site: SiteName,
    tips: Sequence[Tip],
    at: str,
    key: SiteKey,
    *,
    every_s: float = 30.0,
    incarnation: str = "",
    recovering: Sequence[str] = (),
    held_back: Sequence[HeldBack] = (),
) -> bytes:
    """The message that announces them; what is too long of ``recovering`` and ``held_back`` is cut."""
    raw = wire.encode(
        Heads(
            v=VERSION,
            site=site,
            at=at,
            leaves=list(tips),
            every_ms=min(max(round(every_s * 1000), 1), MAX_EVERY_MS),
            incarnation=incarnation,
            recovering=[reason[:MAX_WAITS_LENGTH] for reason in recovering[:MAX_WAITS]],
            held_back=list(held_back)[:MAX_HELD_BACK],
        )
    )
    return wire.encode(_Signed(heads=raw.decode(), signature=key.sign(Purpose.HEAD, raw)))


def of_reader(heads: Heads, site: SiteName) -> HeldBack | None:
    """What the site that announced these holds back of this site's journal; None: nothing."""
    return next((held for held in heads.held_back if held.site == site), None)


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
        wire.check_fields(message)
        wire.check_fields(raw)
    except wire.NOT_DECODABLE as exc:
        raise SegmentInvalid(f"heads do not decode: {wire.why(exc)}") from exc
    if heads.v != VERSION:
        raise SegmentInvalid(f"heads are of version {heads.v}; this software reads version {VERSION}")
    if heads.site != site:
        raise SegmentInvalid(f"heads of site {heads.site!r} arrived as those of site {site!r}")
    return heads
