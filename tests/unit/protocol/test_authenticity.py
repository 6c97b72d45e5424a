"""Segments are believed of members only, and if a key that the site has or had signed them."""

from __future__ import annotations

import msgspec
import pytest
from tests.unit.protocol.samples import ARCHIVE, ARCHIVE_KEY, AT, EMPTY_JOURNAL, ENTRIES, SUMMIT_KEY
from tests.unit.protocol.test_roster import member

from librarian_protocol import segments
from librarian_protocol.authenticity import opened
from librarian_protocol.errors import NotAdmitted, SignatureInvalid
from librarian_protocol.keys import Purpose

POSITION = msgspec.structs.replace(EMPTY_JOURNAL, site=ARCHIVE)
CUT = next(iter(segments.cut(POSITION, ENTRIES, AT)))


def test_a_members_segment_opens_and_says_whose_key_it_was() -> None:
    signature = ARCHIVE_KEY.sign(Purpose.SEGMENT, CUT.payload)
    found = opened(member(ARCHIVE), ARCHIVE, CUT.payload, signature)
    assert (found.segment, found.payload, found.key) == (CUT.segment, CUT.payload, ARCHIVE_KEY.public)
    assert found.signature == signature


def test_what_another_key_signed_is_refused() -> None:
    with pytest.raises(SignatureInvalid):
        opened(member(ARCHIVE), ARCHIVE, CUT.payload, SUMMIT_KEY.sign(Purpose.SEGMENT, CUT.payload))


def test_nothing_is_believed_of_a_site_that_is_not_of_the_mesh() -> None:
    with pytest.raises(NotAdmitted, match="not of this mesh"):
        opened(None, ARCHIVE, CUT.payload, ARCHIVE_KEY.sign(Purpose.SEGMENT, CUT.payload))
