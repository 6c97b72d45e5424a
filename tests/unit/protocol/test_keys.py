"""Site keys and signatures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.protocol.samples import ARCHIVE_KEY, SUMMIT_KEY

from librarian_protocol.errors import SignatureInvalid
from librarian_protocol.keys import Purpose, SiteKey, fingerprint, is_public_key, verify


def test_the_key_and_signature_are_plain_ed25519() -> None:
    """RFC 8032, test 1: an auditor needs nothing of ours to check a signature."""
    key = SiteKey(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert key.public == "ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    from nacl.signing import VerifyKey

    signature = key.sign(Purpose.SEGMENT, b"payload")
    raw = VerifyKey(bytes.fromhex(key.public.removeprefix("ed25519:")))
    raw.verify(b"librarian/segment/1\npayload", bytes.fromhex(signature))


def test_the_prefixes_are_these_and_none_begins_another() -> None:
    """A signature made for one purpose is never good for another."""
    prefixes = {purpose.name: purpose.value for purpose in Purpose}
    assert prefixes == {
        "SEGMENT": "librarian/segment/1\n",
        "REQUEST": "librarian/request/1\n",
        "JOIN": "librarian/join/1\n",
        "JOIN_ANSWER": "librarian/join-answer/1\n",
        "HEAD": "librarian/head/1\n",
        "MAIL": "librarian/mail/1\n",
        "EXPORT": "librarian/export/1\n",
        "ROSTER": "librarian/roster/1\n",
    }


@given(st.binary(max_size=200))
def test_a_signature_holds_for_its_purpose_payload_and_key_only(payload: bytes) -> None:
    """Change any of the three and it does not fit."""
    signature = SUMMIT_KEY.sign(Purpose.SEGMENT, payload)
    assert signature == SUMMIT_KEY.sign(Purpose.SEGMENT, payload)
    verify(SUMMIT_KEY.public, Purpose.SEGMENT, payload, signature)
    for public, purpose, other in (
        (ARCHIVE_KEY.public, Purpose.SEGMENT, payload),
        (SUMMIT_KEY.public, Purpose.REQUEST, payload),
        (SUMMIT_KEY.public, Purpose.SEGMENT, payload + b"x"),
    ):
        with pytest.raises(SignatureInvalid, match="does not fit key ed25519:"):
            verify(public, purpose, other, signature)


@pytest.mark.parametrize("signature", ["", "0" * 127, "0" * 129, "G" * 128, "A" * 128, "0" * 128 + "\n"])
def test_a_malformed_signature_is_refused(signature: str) -> None:
    """Lower-case hex of 64 bytes, nothing else."""
    with pytest.raises(SignatureInvalid, match="signature is not 128 hex digits"):
        verify(SUMMIT_KEY.public, Purpose.SEGMENT, b"", signature)


@pytest.mark.parametrize("public", ["", "ed25519:", "0" * 64, "ed25519:" + "0" * 64 + "\n", "ed448:" + "0" * 64])
def test_a_malformed_key_is_refused(public: str) -> None:
    """``ed25519:`` and lower-case hex of 32 bytes, nothing else."""
    assert not is_public_key(public)
    with pytest.raises(SignatureInvalid, match="is not of the form"):
        verify(public, Purpose.SEGMENT, b"", "0" * 128)


def test_a_key_under_which_anything_verifies_is_refused() -> None:
    """Points of small order accept forged signatures under lax rules; the library refuses them."""
    with pytest.raises(SignatureInvalid):
        verify("ed25519:" + "01" + "00" * 31, Purpose.SEGMENT, b"x", "01" + "00" * 63)


def test_two_people_can_compare_a_fingerprint_aloud() -> None:
    """The first 16 digits, in groups."""
    assert fingerprint("ed25519:0123456789abcdef" + "0" * 48) == "0123-4567-89ab-cdef"
