"""Letters: from who they say, to whom they say, and nothing else."""

from __future__ import annotations

import msgspec
import pytest
from tests.unit.protocol.samples import ARCHIVE, ARCHIVE_KEY, AT, CAMPUS, SUMMIT, SUMMIT_KEY

from librarian_protocol import mail
from librarian_protocol.errors import SegmentInvalid, SignatureInvalid
from librarian_protocol.keys import Purpose
from librarian_protocol.mail import Mail

LETTER = Mail(v=1, sender=SUMMIT, to=ARCHIVE, verb="push-me", id="0" * 32, at=AT, body=msgspec.Raw(b'{"files":["a"]}'))


def opened(payload: bytes, signature: str) -> Mail:
    """At the archive, as one of the summit."""
    return mail.open_signed(payload, signature, sender=SUMMIT, to=ARCHIVE, key=SUMMIT_KEY.public)


def test_what_is_sealed_is_opened() -> None:
    found = opened(*mail.seal(LETTER, SUMMIT_KEY))
    assert (found.verb, bytes(found.body)) == ("push-me", b'{"files":["a"]}')


def test_what_another_key_signed_is_refused() -> None:
    with pytest.raises(SignatureInvalid):
        opened(*mail.seal(LETTER, ARCHIVE_KEY))


@pytest.mark.parametrize("changes", [{"sender": CAMPUS}, {"to": CAMPUS}])
def test_a_letter_between_other_sites_is_refused(changes: dict[str, object]) -> None:
    letter = msgspec.structs.replace(LETTER, **changes)
    with pytest.raises(SegmentInvalid, match="arrived from 'summit' at 'archive'"):
        opened(*mail.seal(letter, SUMMIT_KEY))


def test_a_later_version_is_refused_by_its_number() -> None:
    with pytest.raises(SegmentInvalid, match="version 2"):
        opened(*mail.seal(msgspec.structs.replace(LETTER, v=2), SUMMIT_KEY))


def test_a_letter_that_is_too_large_is_neither_sealed_nor_opened() -> None:
    large = msgspec.structs.replace(LETTER, body=msgspec.Raw(b'"' + b"x" * mail.MAX_MAIL_BYTES + b'"'))
    with pytest.raises(SegmentInvalid, match="are allowed"):
        mail.seal(large, SUMMIT_KEY)
    with pytest.raises(SegmentInvalid, match="are allowed"):
        opened(b"x" * (mail.MAX_MAIL_BYTES + 1), "")


def test_rubbish_that_is_signed_is_refused() -> None:
    with pytest.raises(SegmentInvalid, match="does not decode"):
        opened(b"[]", SUMMIT_KEY.sign(Purpose.MAIL, b"[]"))


def test_a_letter_in_which_a_field_stands_twice_is_refused() -> None:
    payload = mail.seal(LETTER, SUMMIT_KEY)[0].replace(b'"verb":', b'"verb":"other","verb":', 1)
    with pytest.raises(SegmentInvalid, match="stands twice"):
        opened(payload, SUMMIT_KEY.sign(Purpose.MAIL, payload))
