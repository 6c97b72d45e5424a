"""The control API's structures."""

from __future__ import annotations

import inspect
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import pytest

from librarian_protocol import api, wire

STRUCTS = [
    value
    for _, value in inspect.getmembers(api, inspect.isclass)
    if issubclass(value, msgspec.Struct) and value.__module__ == api.__name__
]


def _sample(wanted: Any) -> Any:
    """Some value of the type of a field."""
    plain: dict[Any, Any] = {str: "x", int: 1, float: 1.5, bool: True, msgspec.Raw: {"a": 1}}
    if wanted in plain:
        return plain[wanted]
    if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
        hints = get_type_hints(wanted)
        return {field: _sample(hints[field]) for field in wanted.__struct_fields__}
    arguments = get_args(wanted)
    if get_origin(wanted) is Literal:
        return arguments[0]
    if get_origin(wanted) is list:
        return [_sample(arguments[0])]
    if get_origin(wanted) is dict:
        return {"x": _sample(arguments[1])}
    return _sample(arguments[0])


@pytest.mark.parametrize("struct", STRUCTS, ids=[struct.__name__ for struct in STRUCTS])
def test_a_structure_comes_back_as_it_went(struct: type[msgspec.Struct]) -> None:
    """All fields set; what lbctl reads is what the daemon wrote."""
    raw = msgspec.json.encode(_sample(struct))
    value = wire.decoder(struct).decode(raw)
    assert wire.encode(value) == raw


def test_an_unknown_field_in_a_request_is_a_typing_error() -> None:
    """An answer may grow, a request must not be half understood."""
    with pytest.raises(msgspec.ValidationError, match="unknown field `form_site`"):
        wire.decoder(api.SubscriptionAdd).decode(b'{"from_site":null,"form_site":"summit"}')


def test_the_prefix_and_the_schema_names_are_stable() -> None:
    """Scripts rely on them."""
    assert (api.PREFIX, api.ERROR_SCHEMA) == ("/api/v1", "lb.error/1")
