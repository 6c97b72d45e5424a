"""Site keys: Ed25519 signatures, each bound to what it is for by a prefix.

The bus NKEY is a second, separate key: a NATS server chooses the nonce that a client signs, so that key must
sign nothing that means anything (docs/events.md).
"""

from __future__ import annotations

import re
from enum import StrEnum

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from librarian_protocol.errors import SignatureInvalid

_KEY = re.compile(r"ed25519:[0-9a-f]{64}\Z")
_SIGNATURE = re.compile(r"[0-9a-f]{128}\Z")


class Purpose(StrEnum):
    """What a signature is for. The value is the prefix that is signed before the payload."""

    SEGMENT = "librarian/segment/1\n"
    REQUEST = "librarian/request/1\n"
    JOIN = "librarian/join/1\n"
    JOIN_ANSWER = "librarian/join-answer/1\n"
    #: Every journal end that a site holds.
    HEAD = "librarian/head/1\n"
    #: A request to one site that needs no record.
    MAIL = "librarian/mail/1\n"
    #: The end of an exported file: what its exporter held.
    EXPORT = "librarian/export/1\n"
    #: An administrator's statement about the roster, made with a key that is kept offline.
    ROSTER = "librarian/roster/1\n"


class SiteKey:
    """The private key of a site. ``seed`` is 32 bytes."""

    def __init__(self, seed: bytes) -> None:
        self._key = SigningKey(seed)
        #: ``ed25519:<hex>``, as it stands in the roster.
        self.public = f"ed25519:{self._key.verify_key.encode().hex()}"

    def sign(self, purpose: Purpose, payload: bytes) -> str:
        """The signature as 128 hex digits. The same input gives the same signature."""
        return self._key.sign(purpose.encode() + payload).signature.hex()


def verify(public: str, purpose: Purpose, payload: bytes, signature: str) -> None:
    """Check that the holder of ``public`` signed ``payload`` for this purpose.

    Raises:
        SignatureInvalid: key or signature is malformed, or they do not fit.
    """
    if not is_public_key(public):
        raise SignatureInvalid(f"public key {ascii(public)[:80]} is not of the form ed25519:<64 hex digits>")
    if not _SIGNATURE.match(signature):
        raise SignatureInvalid("signature is not 128 hex digits")
    try:
        VerifyKey(bytes.fromhex(public[8:])).verify(purpose.encode() + payload, bytes.fromhex(signature))
    except (BadSignatureError, ValueError) as exc:
        raise SignatureInvalid(f"signature does not fit key {public[:24]}…") from exc


def is_public_key(text: str) -> bool:
    """Whether the text has the form of a site's public key."""
    return _KEY.match(text) is not None


def fingerprint(public: str) -> str:
    """Sixteen hex digits in groups of four, short enough for two people to compare aloud."""
    digits = public.removeprefix("ed25519:")[:16]
    return "-".join(digits[i : i + 4] for i in range(0, 16, 4))
