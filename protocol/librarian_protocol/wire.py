"""JSON for everything that crosses a boundary: msgspec, with our own checked text types.

Decoding runs the same parser as every other way in, so a value that came off the wire is as good as one that
was typed here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from librarian_protocol.digests import Digest
from librarian_protocol.errors import InputError
from librarian_protocol.names import MemberPath, Name, SiteName

T = TypeVar("T")
#: Everything that decoding can raise: malformed, not UTF-8 inside a text, nested too deep.
NOT_DECODABLE = (msgspec.MsgspecError, UnicodeError, RecursionError)
#: The length to which received content is quoted: to its sender, or in logs.
MAX_REASON_CHARACTERS = 300
_PARSERS: dict[type, Callable[[str], Any]] = {
    Name: Name.parse,
    MemberPath: MemberPath.parse,
    SiteName: SiteName.parse,
    Digest: Digest.parse,
}


def why(exc: Exception) -> str:
    """Why something does not decode, in a bounded text: what msgspec says may repeat the value it met."""
    text = str(exc)
    if len(text) <= MAX_REASON_CHARACTERS:
        return text
    half = MAX_REASON_CHARACTERS // 2
    return f"{text[:half]} … {text[-half:]}"


def decode_hook(wanted: type, raw: object) -> object:
    """Give msgspec our text types. Raises ValueError, which msgspec reports with the field's path."""
    parse = _PARSERS.get(wanted)
    if parse is None:
        raise NotImplementedError(f"no decoder for {wanted}")
    if not isinstance(raw, str):
        raise ValueError(f"expected text, got {type(raw).__name__}")
    try:
        return parse(raw)
    except InputError as exc:
        raise ValueError(exc.message) from exc


def encode_hook(value: object) -> object:
    """Our text types travel as plain text."""
    if isinstance(value, str):
        return str.__str__(value)
    raise NotImplementedError(f"no encoder for {type(value)}")


_ENCODER = msgspec.json.Encoder(enc_hook=encode_hook)
_ANY = msgspec.json.Decoder[Any]()


def check_fields(raw: bytes) -> None:
    """That no field stands twice in an object: readers would differ in which one they believe (RFC 8259, 4).

    What this software writes comes back the same when it is written again: that is soon found out, and cannot be so if
    a field was lost. Only what others wrote in other ways is read slowly.

    Raises:
        msgspec.ValidationError: one does.
    """
    with suppress(*NOT_DECODABLE):
        if _ENCODER.encode(_ANY.decode(raw)) == raw:
            return
    try:
        json.loads(raw, object_pairs_hook=_fields, parse_int=str, parse_float=str)
    except ValueError as exc:
        raise msgspec.ValidationError(str(exc)) from exc


def _fields(pairs: list[tuple[str, object]]) -> None:
    names: set[str] = set()
    for name, _ in pairs:
        if name in names:
            raise ValueError(f"field {name!r} stands twice in one object")
        names.add(name)


def encode(value: object) -> bytes:
    """UTF-8 JSON, fields in the order of their declaration."""
    return _ENCODER.encode(value)


def decoder(wanted: type[T]) -> msgspec.json.Decoder[T]:
    """A reusable decoder. It raises :data:`NOT_DECODABLE`."""
    return msgspec.json.Decoder(wanted, dec_hook=decode_hook)
