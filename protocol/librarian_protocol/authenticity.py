"""Checks every segment of another site, whatever its source: bus, questions, history, files (docs/events.md)."""

from __future__ import annotations

import msgspec

from librarian_protocol import segments
from librarian_protocol.errors import NotAdmitted
from librarian_protocol.names import SiteName
from librarian_protocol.roster import Member
from librarian_protocol.segments import Segment


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """A segment that a key of its site signed. Whether it counts with that key at its place is decided in the
    catalog.
    """

    segment: Segment
    payload: bytes
    signature: str
    key: str


def opened(member: Member | None, site: SiteName, payload: bytes, signature: str) -> Signed:
    """The segment, if a key that the site has or had signed it.

    Raises:
        NotAdmitted: the site is not, and was not, of the mesh.
        SegmentInvalid: it is malformed, or of another site.
        SignatureInvalid: no key of the site signed it.
    """
    if member is None:
        raise NotAdmitted(f"site {site!r} is not of this mesh")
    segment, key = segments.open_of_member(payload, signature, site=site, keys=member.every_key)
    return Signed(segment=segment, payload=payload, signature=signature, key=key)
