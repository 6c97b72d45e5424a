"""JSON with our own text types."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian_protocol import wire
from librarian_protocol.digests import Digest
from librarian_protocol.names import MemberPath, Name, SiteName


class _All(msgspec.Struct):
    name: Name
    member: MemberPath
    site: SiteName
    digest: Digest


_ALL = wire.decoder(_All)


def test_our_text_types_come_back_as_what_they_were() -> None:
    """Plain text on the wire, checked types in memory."""
    value = _All(Name.parse("a/b"), MemberPath.parse("c"), SiteName.parse("summit"), Digest.blake3(b""))
    raw = wire.encode(value)
    assert raw.startswith(b'{"name":"a/b","member":"c","site":"summit","digest":"blake3:af13')
    back = _ALL.decode(raw)
    assert back == value
    assert [type(field) for field in msgspec.structs.astuple(back)] == [Name, MemberPath, SiteName, Digest]


def test_the_message_of_a_bad_value_names_its_field() -> None:
    """The rule that is broken and where."""
    raw = b'{"name":"a/../b","member":"c","site":"summit","digest":"x"}'
    with pytest.raises(msgspec.ValidationError, match=r"has the component '\.\.' - at `\$\.name`"):
        _ALL.decode(raw)


def test_a_reason_is_short_however_long_the_value_was() -> None:
    assert wire.why(ValueError("x is wrong - at `$.a`")) == "x is wrong - at `$.a`"
    long = wire.why(ValueError(f"Invalid value '{'x' * 70_000}' - at `$.a`"))
    assert len(long) < 400
    assert long.startswith("Invalid value 'xxx")
    assert long.endswith("' - at `$.a`")


def test_what_is_not_text_is_refused_as_such() -> None:
    """A number where a name should stand."""
    with pytest.raises(msgspec.ValidationError, match=r"expected text, got int - at `\$\.name`"):
        _ALL.decode(b'{"name":1}')


def test_a_type_that_has_no_parser_is_a_mistake_of_ours() -> None:
    """Both hooks refuse what nobody taught them."""
    with pytest.raises(NotImplementedError, match="no decoder for"):
        wire.decode_hook(complex, "1")
    with pytest.raises(NotImplementedError, match="no encoder for"):
        wire.encode_hook(object())


@given(st.binary())
def test_arbitrary_bytes_raise_only_what_is_listed(raw: bytes) -> None:
    """Callers catch NOT_DECODABLE and nothing else."""
    with pytest.raises(wire.NOT_DECODABLE):
        _ALL.decode(raw)


@pytest.mark.parametrize("raw", [b'{"name":"\xff"}', b"[" * 100_000, b'{"name":"\\ud800"}', b""])
def test_hostile_bytes_raise_only_what_is_listed(raw: bytes) -> None:
    """Bad UTF-8 in a text, nesting without end, half a surrogate pair, nothing at all."""
    with pytest.raises(wire.NOT_DECODABLE):
        wire.decoder(dict[str, object]).decode(raw)


@pytest.mark.parametrize("raw", [b'{"a":1,"b":[{"a":"\xc3\xa9\\n"}]}', b'{"a" : 1.50, "b": "\\u00e9"}', b'{"a":1e999}'])
def test_fields_that_stand_once_are_passed_however_they_are_written(raw: bytes) -> None:
    """As this software writes them, and as others may."""
    wire.check_fields(raw)


@pytest.mark.parametrize(
    "raw",
    [b'{"a":1,"a":1}', b'{"b":[{"x":{"a":1,"\\u0061":2}}]}', b'{"a":1, "c":2, "a":null}', b'{"a":1,"a":2'],
    ids=repr,
)
def test_a_field_that_stands_twice_is_refused_at_any_depth(raw: bytes) -> None:
    """Its names are compared as they are read, not as they are written."""
    with pytest.raises(wire.NOT_DECODABLE):
        wire.check_fields(raw)
