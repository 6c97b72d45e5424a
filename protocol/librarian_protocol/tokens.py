"""Invite tokens, and the request by which an invited site asks to be admitted (docs/architecture.md).

A token is ``lb1.`` and base64url of JSON. It carries what a newcomer needs to find the bus and to know that
it talks to the inviter, and a secret that is good once. The newcomer proves that it holds the secret without
sending it, and signs with its own site key.
"""

from __future__ import annotations

import base64
import hmac
from typing import Annotated

import msgspec
from blake3 import blake3
from msgspec import Meta

from librarian_protocol import wire
from librarian_protocol.entries import BusKey, Certificate, PublicKey, Text
from librarian_protocol.errors import SignatureInvalid, TokenInvalid
from librarian_protocol.keys import Purpose, SiteKey, verify
from librarian_protocol.names import SiteName

PREFIX = "lb1."
MAX_TOKEN_CHARS = 4096


class Token(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an invited site receives, out of band."""

    mesh: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}(?!\n)$")]
    #: Names the invitation at the inviter.
    id: Annotated[str, Meta(pattern=r"^[0-9a-f]{16}(?!\n)$")]
    inviter: SiteName
    key: PublicKey
    #: Where clients connect; "" where only servers can.
    bus_url: Text
    #: NKEY seed of a bus user that may only ask to join; None where the URL itself carries a credential.
    bus_seed: Annotated[str, Meta(pattern=r"^SU[A-Z2-7]{56}(?!\n)$")] | None
    secret: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}(?!\n)$")]
    #: Seconds since 1970.
    expires: int
    #: Where a newcomer's own bus server dials in, and the certificate it finds there; "" for nowhere.
    leaf_address: Text = ""
    certificate: Certificate | None = None
    #: The administrator's public key, which the newcomer believes from then on.
    administrator: PublicKey | None = None


class JoinRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the newcomer states about itself."""

    mesh: str
    token: str
    site: SiteName
    key: PublicKey
    bus: Annotated[list[BusKey], Meta(max_length=2)]
    #: By which its own bus server will dial out, where it has one.
    leaf: BusKey | None = None


class SignedJoin(msgspec.Struct, frozen=True, kw_only=True):
    """A join request on the wire: signed by the newcomer, proved by the token's secret."""

    request: Annotated[str, Meta(max_length=4096)]
    signature: str
    proof: str


class JoinAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the inviter says to a request. It is repeated with each request, so it may be lost."""

    #: Names the invitation, and the newcomer's key, that are answered.
    token: str
    key: PublicKey
    #: ``admitted``, ``waiting`` for a person, or ``refused``.
    state: Annotated[str, Meta(pattern=r"^(admitted|waiting|refused)(?!\n)$")]
    detail: Annotated[str, Meta(max_length=1024)] = ""


class SignedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer on the wire, signed by the inviter."""

    answer: Annotated[str, Meta(max_length=4096)]
    signature: str


_ANSWER = wire.decoder(JoinAnswer)
_SIGNED_ANSWER = wire.decoder(SignedAnswer)
_TOKEN = wire.decoder(Token)
_JOIN = wire.decoder(SignedJoin)
_REQUEST = wire.decoder(JoinRequest)


def encode(token: Token) -> str:
    """The token as one word of printable ASCII."""
    return PREFIX + base64.urlsafe_b64encode(wire.encode(token)).decode().rstrip("=")


def decode(text: str) -> Token:
    """Read a token.

    Raises:
        TokenInvalid: it is not a token, or was cut or altered on the way.
    """
    text = text.strip()
    if not text.startswith(PREFIX) or len(text) > MAX_TOKEN_CHARS:
        raise TokenInvalid("this is not an invite token", hint="`lbctl site invite` at a site of the mesh prints one")
    body = text.removeprefix(PREFIX)
    try:
        raw = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
        wire.check_fields(raw)
        return _TOKEN.decode(raw)
    except (*wire.NOT_DECODABLE, ValueError) as exc:
        raise TokenInvalid(f"the invite token does not decode: {wire.why(exc)}", hint="was it copied whole?") from exc


def _proof(secret: str, request: bytes) -> str:
    return blake3(request, key=bytes.fromhex(secret)).hexdigest()


def seal(request: JoinRequest, *, key: SiteKey, secret: str) -> bytes:
    """The newcomer's message."""
    raw = wire.encode(request)
    return wire.encode(
        SignedJoin(request=raw.decode(), signature=key.sign(Purpose.JOIN, raw), proof=_proof(secret, raw))
    )


def read(message: bytes) -> tuple[JoinRequest, SignedJoin]:
    """The request in a message, its signature checked by the key that it names; its proof is not checked yet.

    Raises:
        TokenInvalid: malformed, or not signed by the key it names.
    """
    try:
        sealed = _JOIN.decode(message)
        request = _REQUEST.decode(sealed.request.encode())
        wire.check_fields(sealed.request.encode())
        verify(request.key, Purpose.JOIN, sealed.request.encode(), sealed.signature)
    except (*wire.NOT_DECODABLE, SignatureInvalid) as exc:
        raise TokenInvalid(f"join request is not valid: {wire.why(exc)}") from exc
    return request, sealed


def is_proved(sealed: SignedJoin, secret: str) -> bool:
    """Whether the newcomer holds the token's secret."""
    return hmac.compare_digest(_proof(secret, sealed.request.encode()).encode(), sealed.proof.encode())


def seal_answer(answer: JoinAnswer, key: SiteKey) -> bytes:
    """The inviter's message."""
    raw = wire.encode(answer)
    return wire.encode(SignedAnswer(answer=raw.decode(), signature=key.sign(Purpose.JOIN_ANSWER, raw)))


def read_answer(message: bytes, token: Token, key: str) -> JoinAnswer:
    """The inviter's answer to the site of ``key`` that asked by ``token``.

    Raises:
        TokenInvalid: malformed, not signed by the inviter, or an answer to somebody else.
    """
    try:
        signed = _SIGNED_ANSWER.decode(message)
        verify(token.key, Purpose.JOIN_ANSWER, signed.answer.encode(), signed.signature)
        answer = _ANSWER.decode(signed.answer.encode())
        wire.check_fields(signed.answer.encode())
    except (*wire.NOT_DECODABLE, SignatureInvalid) as exc:
        raise TokenInvalid(f"the answer to the join request is not valid: {wire.why(exc)}") from exc
    if (answer.token, answer.key) != (token.id, key):
        raise TokenInvalid("the answer to the join request is one to somebody else")
    return answer
