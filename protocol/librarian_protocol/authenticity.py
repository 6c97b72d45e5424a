"""The one door for other sites' segments, however they come: bus, questions, history, files (docs/events.md)."""

from __future__ import annotations

import msgspec

from librarian_protocol import segments
from librarian_protocol.errors import NotAdmitted, SignatureInvalid
from librarian_protocol.names import SiteName
from librarian_protocol.registers import Version
from librarian_protocol.roster import Member, Standing
from librarian_protocol.segments import Segment


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """A segment that a key of its site signed; whether it counts with that key at its place, :func:`counts` says."""

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


def counts(member: Member | None, signed: Signed) -> bool:
    """Whether it counts; False where it lies beyond the cutoff of its site. By the roster of the moment it is applied.

    Raises:
        NotAdmitted: the site is not of the mesh any more.
        SignatureInvalid: the key that signed it did not count there.
    """
    segment = signed.segment
    if member is None:
        raise NotAdmitted(f"site {segment.site!r} is not of this mesh")
    standing = member.standing(signed.key, Version(segment.epoch, segment.incarnation, segment.first_seq))
    if standing is Standing.REFUSED:
        raise SignatureInvalid(
            f"entry {segment.first_seq} of site {member.site!r} is signed with {signed.key[:24]}…, which did not count"
            " there"
        )
    return standing is Standing.COUNTS
