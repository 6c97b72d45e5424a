"""The one door for other sites' segments, however they come: bus, questions, history, files (docs/events.md)."""

from __future__ import annotations

from librarian_protocol import segments
from librarian_protocol.errors import SignatureInvalid
from librarian_protocol.registers import Version
from librarian_protocol.roster import Member
from librarian_protocol.segments import Segment


def believe(member: Member, payload: bytes, signature: str) -> Segment:
    """The segment, if the member's key that counts at its place signed it.

    Raises:
        SegmentInvalid: it is malformed, or of another site.
        SignatureInvalid: no key of the site signed it, or one that did not count there.
    """
    segment, key = segments.open_of_member(payload, signature, site=member.site, keys=member.every_key)
    place = Version(segment.epoch, segment.incarnation, segment.first_seq)
    if not member.key_fits(key, place):
        raise SignatureInvalid(
            f"entry {segment.first_seq} of site {member.site!r} is signed with {key[:24]}…, which did not count there"
        )
    return segment
