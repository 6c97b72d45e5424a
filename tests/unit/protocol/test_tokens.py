"""Invite tokens and join requests."""

from __future__ import annotations

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.protocol.samples import ARCHIVE_KEY, BUS_KEYS, CAMPUS, SUMMIT, SUMMIT_KEY

from librarian_protocol import tokens, wire
from librarian_protocol.errors import TokenInvalid
from librarian_protocol.keys import Purpose
from librarian_protocol.tokens import JoinRequest, SignedJoin, Token

SECRET = "c0ffee00" * 8
TOKEN = Token(
    mesh="0123456789abcdef" * 2,
    id="fedcba9876543210",
    inviter=SUMMIT,
    key=SUMMIT_KEY.public,
    bus_url="nats://bus.example:4222",
    bus_seed="SU" + "A" * 56,
    secret=SECRET,
    expires=1_767_323_045,
)
REQUEST = JoinRequest(mesh=TOKEN.mesh, token=TOKEN.id, site=CAMPUS, key=ARCHIVE_KEY.public, bus=BUS_KEYS)


def _token(**fields: object) -> str:
    plain = {**msgspec.structs.asdict(TOKEN), **fields}
    return "lb1." + base64.urlsafe_b64encode(wire.encode(plain)).decode().rstrip("=")


def test_a_token_comes_back_as_it_went() -> None:
    """One word of printable ASCII, good to copy; blanks around it do not matter."""
    text = tokens.encode(TOKEN)
    assert text.startswith("lb1.")
    assert text.isascii()
    assert not set(text) & set(" \n=+/")
    assert tokens.decode(f"  {text}\n") == TOKEN
    assert tokens.decode(_token(bus_seed=None)).bus_seed is None


@pytest.mark.parametrize("text", ["", "lb1", "lb2.abc", "hello", "lb1." + "A" * 4093])
def test_what_is_no_token_is_refused_as_such(text: str) -> None:
    """And the hint says where tokens come from."""
    with pytest.raises(TokenInvalid, match="this is not an invite token") as caught:
        tokens.decode(text)
    assert "lbctl site invite" in caught.value.hint


def test_a_token_that_was_cut_anywhere_is_refused() -> None:
    """The usual accident of copying."""
    text = tokens.encode(TOKEN)
    for length in range(4, len(text)):
        with pytest.raises(TokenInvalid, match="does not decode") as caught:
            tokens.decode(text[:length])
        assert caught.value.hint == "was it copied whole?"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mesh", "0" * 31),
        ("mesh", "0" * 32 + "\n"),
        ("id", "0" * 17),
        ("id", "0" * 16 + "\n"),
        ("inviter", "rpc"),
        ("key", "0" * 64),
        ("bus_seed", "SU"),
        ("bus_seed", "SU" + "A" * 56 + "\n"),
        ("secret", "0" * 63),
        ("secret", "0" * 64 + "\n"),
        ("expires", None),
        ("bus_url", "x" * 1025),
    ],
)
def test_a_token_with_a_bad_field_is_refused(field: str, value: object) -> None:
    """Every field is checked before anything is dialled."""
    with pytest.raises(TokenInvalid, match=rf"\$\.{field}"):
        tokens.decode(_token(**{field: value}))


@given(st.one_of(st.text(), st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode())))
def test_arbitrary_text_after_the_prefix_is_refused_and_never_crashes(text: str) -> None:
    """Signs beyond ASCII, bad base64, bad JSON, bad UTF-8."""
    with pytest.raises(TokenInvalid):
        tokens.decode("lb1." + text)


@pytest.mark.parametrize("raw", [b'{"mesh":"\xff"}', b"[" * 3000, b'{"v":' + b"[" * 3000])
def test_hostile_json_in_a_token_is_refused(raw: bytes) -> None:
    """Bad UTF-8 and deep nesting, which decoders like to trip over."""
    with pytest.raises(TokenInvalid):
        tokens.decode("lb1." + base64.urlsafe_b64encode(raw).decode())


def test_a_join_request_is_signed_and_proved() -> None:
    """By the newcomer's own key, and by the secret, which does not travel."""
    message = tokens.seal(REQUEST, key=ARCHIVE_KEY, secret=SECRET)
    request, sealed = tokens.read(message)
    assert request == REQUEST
    assert tokens.is_proved(sealed, SECRET)
    assert not tokens.is_proved(sealed, "0" * 64)
    assert SECRET.encode() not in message


def test_a_proof_is_for_one_request_only() -> None:
    """Who overhears a proof cannot use it for a key of its own."""
    _, sealed = tokens.read(tokens.seal(REQUEST, key=ARCHIVE_KEY, secret=SECRET))
    mine = wire.encode(msgspec.structs.replace(REQUEST, key=SUMMIT_KEY.public))
    forged = SignedJoin(request=mine.decode(), signature=SUMMIT_KEY.sign(Purpose.JOIN, mine), proof=sealed.proof)
    assert tokens.read(wire.encode(forged))[0].key == SUMMIT_KEY.public
    assert not tokens.is_proved(forged, SECRET)


def test_a_proof_that_is_not_hex_is_no_proof() -> None:
    """Nor does it crash the comparison."""
    sealed = SignedJoin(request="{}", signature="", proof="é")
    assert not tokens.is_proved(sealed, SECRET)


def test_a_join_request_signed_by_another_key_is_refused() -> None:
    """The key it names must have signed it, for this purpose."""
    with pytest.raises(TokenInvalid, match="join request is not valid: signature does not fit"):
        tokens.read(tokens.seal(REQUEST, key=SUMMIT_KEY, secret=SECRET))
    raw = wire.encode(REQUEST)
    sealed = SignedJoin(request=raw.decode(), signature=ARCHIVE_KEY.sign(Purpose.REQUEST, raw), proof="")
    with pytest.raises(TokenInvalid, match="signature does not fit"):
        tokens.read(wire.encode(sealed))


@given(st.binary())
def test_arbitrary_join_messages_are_refused_and_never_crash(message: bytes) -> None:
    """Anybody who holds a bus credential can send them."""
    with pytest.raises(TokenInvalid):
        tokens.read(message)


@pytest.mark.parametrize(
    "message",
    [
        b'{"request":"\xff","signature":"","proof":""}',
        b'{"request":"\\ud800","signature":"","proof":""}',
        b'{"request":"' + b"[" * 4000 + b'","signature":"","proof":""}',
        b'{"x":' + b"[" * 100_000,
        b'{"request":"{}","signature":"","proof":""}',
        b'{"request":"' + b" " * 4097 + b'","signature":"","proof":""}',
    ],
)
def test_hostile_join_messages_are_refused(message: bytes) -> None:
    """Bad UTF-8, half a surrogate pair, deep nesting, missing fields, too long."""
    with pytest.raises(TokenInvalid, match="join request is not valid"):
        tokens.read(message)


# ---- answers ---------------------------------------------------------------------------------------------


def _answer(**changes: object) -> tokens.JoinAnswer:
    answer = tokens.JoinAnswer(token=TOKEN.id, key=ARCHIVE_KEY.public, state="admitted")
    return msgspec.structs.replace(answer, **changes)


def test_the_inviters_answer_is_read_by_the_newcomer() -> None:
    sealed = tokens.seal_answer(_answer(), SUMMIT_KEY)
    assert tokens.read_answer(sealed, TOKEN, ARCHIVE_KEY.public).state == "admitted"


def test_an_answer_that_another_key_signed_is_refused() -> None:
    with pytest.raises(TokenInvalid, match="not valid"):
        tokens.read_answer(tokens.seal_answer(_answer(), ARCHIVE_KEY), TOKEN, ARCHIVE_KEY.public)


@pytest.mark.parametrize("changes", [{"token": "f" * 16}, {"key": SUMMIT_KEY.public}])
def test_an_answer_to_somebody_else_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(TokenInvalid, match="somebody else"):
        tokens.read_answer(tokens.seal_answer(_answer(**changes), SUMMIT_KEY), TOKEN, ARCHIVE_KEY.public)


def test_rubbish_for_an_answer_is_refused() -> None:
    with pytest.raises(TokenInvalid, match="not valid"):
        tokens.read_answer(b"{}", TOKEN, ARCHIVE_KEY.public)


def test_a_token_in_which_a_field_stands_twice_is_refused() -> None:
    raw = wire.encode(TOKEN).replace(b'"mesh":', b'"mesh":"other","mesh":', 1)
    with pytest.raises(TokenInvalid, match="stands twice"):
        tokens.decode("lb1." + base64.urlsafe_b64encode(raw).decode().rstrip("="))


def test_a_join_request_in_which_a_field_stands_twice_is_refused() -> None:
    raw = wire.encode(REQUEST).replace(b'"site":', b'"site":"archive","site":', 1)
    sealed = SignedJoin(request=raw.decode(), signature=ARCHIVE_KEY.sign(Purpose.JOIN, raw), proof="")
    with pytest.raises(TokenInvalid, match="stands twice"):
        tokens.read(wire.encode(sealed))


def test_an_answer_in_which_a_field_stands_twice_is_refused() -> None:
    raw = wire.encode(_answer()).replace(b'"state":', b'"state":"refused","state":', 1)
    signed = tokens.SignedAnswer(answer=raw.decode(), signature=SUMMIT_KEY.sign(Purpose.JOIN_ANSWER, raw))
    with pytest.raises(TokenInvalid, match="stands twice"):
        tokens.read_answer(wire.encode(signed), TOKEN, ARCHIVE_KEY.public)
