"""Heads: only those of the site itself, signed, are believed."""

from __future__ import annotations

import msgspec
import pytest
from tests.unit.protocol.samples import ARCHIVE, ARCHIVE_KEY, AT, INCARNATION, SUMMIT, SUMMIT_KEY

from librarian_protocol import heads, wire
from librarian_protocol.errors import SegmentInvalid, SignatureInvalid
from librarian_protocol.heads import Heads, Leaf
from librarian_protocol.keys import Purpose

LEAVES = [Leaf(site=site, epoch=1, incarnation=INCARNATION, seq=7, hash="ab" * 32) for site in (SUMMIT, ARCHIVE)]


def test_what_is_sealed_is_opened() -> None:
    message = heads.seal(SUMMIT, LEAVES, AT, SUMMIT_KEY)
    assert heads.open_signed(message, site=SUMMIT, key=SUMMIT_KEY.public).leaves == LEAVES


def test_what_another_key_signed_is_refused() -> None:
    message = heads.seal(SUMMIT, LEAVES, AT, ARCHIVE_KEY)
    with pytest.raises(SignatureInvalid):
        heads.open_signed(message, site=SUMMIT, key=SUMMIT_KEY.public)


def test_heads_of_another_site_are_refused() -> None:
    message = heads.seal(ARCHIVE, LEAVES, AT, SUMMIT_KEY)
    with pytest.raises(SegmentInvalid, match="arrived as those of site"):
        heads.open_signed(message, site=SUMMIT, key=SUMMIT_KEY.public)


@pytest.mark.parametrize("message", [b"", b"{}", b"\xff", b"x" * (heads.MAX_HEADS_BYTES + 1)])
def test_rubbish_is_refused(message: bytes) -> None:
    with pytest.raises(SegmentInvalid):
        heads.open_signed(message, site=SUMMIT, key=SUMMIT_KEY.public)


def test_a_later_version_is_refused_by_its_number() -> None:
    raw = wire.encode(Heads(v=2, site=SUMMIT, at=AT, leaves=[]))
    message = msgspec.json.encode({"heads": raw.decode(), "signature": SUMMIT_KEY.sign(Purpose.HEAD, raw)})
    with pytest.raises(SegmentInvalid, match="version 2"):
        heads.open_signed(message, site=SUMMIT, key=SUMMIT_KEY.public)
