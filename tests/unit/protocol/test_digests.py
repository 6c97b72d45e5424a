"""Digests as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian_protocol.digests import HEX_DIGITS, Digest
from librarian_protocol.errors import DigestInvalid


def test_the_blake3_of_nothing_is_the_published_value() -> None:
    """It is the standard function, not a keyed or truncated one."""
    expected = "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert Digest.blake3(b"") == expected


@pytest.mark.parametrize("algorithm", sorted(HEX_DIGITS))
def test_a_digest_of_each_algorithm_has_its_parts(algorithm: str) -> None:
    """All that we carry can be parsed and taken apart."""
    digits = "0" * HEX_DIGITS[algorithm]
    digest = Digest.parse(f"{algorithm}:{digits}")
    assert (digest.algorithm, digest.hex) == (algorithm, digits)


def test_the_algorithms_have_the_lengths_of_their_standards() -> None:
    """A wrong length would refuse every digest of that algorithm."""
    assert HEX_DIGITS == {
        "blake3": 64,
        "sha256": 64,
        "sha512": 128,
        "sha1": 40,
        "md5": 32,
        "adler32": 8,
        "xxh3": 16,
    }


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("blake3", "is not of the form"),
        ("blake3:", "is not of the form"),
        ("blake3:" + "0" * 64 + "\n", "is not of the form"),
        ("blake3:" + "A" * 64, "is not of the form"),
        (" blake3:" + "0" * 64, "is not of the form"),
        ("sha3:" + "0" * 64, "is not one of adler32, blake3, md5"),
        ("blake3:" + "0" * 63, "a blake3 digest has 64 hex digits, this one has 63"),
        ("md5:" + "0" * 64, "a md5 digest has 32 hex digits, this one has 64"),
    ],
)
def test_what_is_wrong_with_a_digest_is_said(raw: str, message: str) -> None:
    """Form, algorithm and length each have a message."""
    with pytest.raises(DigestInvalid, match=message):
        Digest.parse(raw)


@given(st.text())
def test_arbitrary_text_is_refused_and_never_crashes(raw: str) -> None:
    """Hypothesis does not find a preimage of the form by chance."""
    with pytest.raises(DigestInvalid):
        Digest.parse(raw)


@given(st.binary())
def test_a_computed_digest_parses_to_itself(data: bytes) -> None:
    """What we make, we accept."""
    assert Digest.parse(Digest.blake3(data)) == Digest.blake3(data)
