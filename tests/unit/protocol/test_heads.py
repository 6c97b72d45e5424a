"""Heads: only those of the site itself, signed, are believed."""

from __future__ import annotations

import msgspec
import pytest
from tests.unit.protocol.samples import ARCHIVE, ARCHIVE_KEY, AT, INCARNATION, SUMMIT, SUMMIT_KEY

from librarian_protocol import heads, wire
from librarian_protocol.errors import SegmentInvalid, SignatureInvalid
from librarian_protocol.heads import Heads, HeldBack, Tip
from librarian_protocol.keys import Purpose

TIPS = [Tip(site=site, epoch=1, incarnation=INCARNATION, seq=7, hash="ab" * 32) for site in (SUMMIT, ARCHIVE)]


def test_what_is_sealed_is_opened() -> None:
    message = heads.seal(SUMMIT, TIPS, AT, SUMMIT_KEY)
    assert heads.open_signed(message, site=SUMMIT, key=SUMMIT_KEY.public).leaves == TIPS


def test_what_another_key_signed_is_refused() -> None:
    message = heads.seal(SUMMIT, TIPS, AT, ARCHIVE_KEY)
    with pytest.raises(SignatureInvalid):
        heads.open_signed(message, site=SUMMIT, key=SUMMIT_KEY.public)


def test_heads_of_another_site_are_refused() -> None:
    message = heads.seal(ARCHIVE, TIPS, AT, SUMMIT_KEY)
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


def test_heads_say_how_often_they_come_and_what_a_recovery_waits_for_within_bounds() -> None:
    told = heads.seal(SUMMIT, TIPS, AT, SUMMIT_KEY, every_s=0.5, recovering=["x" * 999] * 99)
    found = heads.open_signed(told, site=SUMMIT, key=SUMMIT_KEY.public)
    assert (found.every_ms, found.recovering) == (500, ["x" * heads.MAX_WAITS_LENGTH] * heads.MAX_WAITS)
    slow = heads.seal(SUMMIT, TIPS, AT, SUMMIT_KEY, every_s=1e9)
    assert heads.open_signed(slow, site=SUMMIT, key=SUMMIT_KEY.public).every_ms == heads.MAX_EVERY_MS


def test_heads_of_a_version_that_did_not_say_how_often_come_every_half_minute() -> None:
    raw = msgspec.json.encode({"v": 1, "site": "summit", "at": AT, "leaves": []})
    message = msgspec.json.encode({"heads": raw.decode(), "signature": SUMMIT_KEY.sign(Purpose.HEAD, raw)})
    assert heads.open_signed(message, site=SUMMIT, key=SUMMIT_KEY.public).every_ms == 30_000


def test_a_site_is_told_what_is_held_back_of_it() -> None:
    held = [HeldBack(site=ARCHIVE, seq=5, why="gap before entry 7")]
    message = heads.seal(SUMMIT, TIPS, AT, SUMMIT_KEY, held_back=held)
    found = heads.open_signed(message, site=SUMMIT, key=SUMMIT_KEY.public)
    assert heads.of_reader(found, ARCHIVE) == held[0]
    assert heads.of_reader(found, SUMMIT) is None


def test_heads_of_a_version_that_tells_of_nothing_held_back_are_read() -> None:
    raw = wire.encode({"v": 1, "site": SUMMIT, "at": AT, "leaves": []})
    message = msgspec.json.encode({"heads": raw.decode(), "signature": SUMMIT_KEY.sign(Purpose.HEAD, raw)})
    found = heads.open_signed(message, site=SUMMIT, key=SUMMIT_KEY.public)
    assert found.held_back == []
    assert heads.of_reader(found, ARCHIVE) is None


@pytest.mark.parametrize("outside", [True, False])
def test_heads_in_which_a_field_stands_twice_are_refused(outside: bool) -> None:
    raw = wire.encode(Heads(v=1, site=SUMMIT, at=AT, leaves=[]))
    if not outside:
        raw = raw.replace(b'"site":', b'"site":"archive","site":', 1)
    message = msgspec.json.encode({"heads": raw.decode(), "signature": SUMMIT_KEY.sign(Purpose.HEAD, raw)})
    if outside:
        message = message.replace(b'"signature":', b'"signature":"x","signature":', 1)
    with pytest.raises(SegmentInvalid, match="stands twice"):
        heads.open_signed(message, site=SUMMIT, key=SUMMIT_KEY.public)
