"""Errors as JSON."""

from __future__ import annotations

import msgspec

ERROR_SCHEMA = "lb.error/1"


class ErrorBody(msgspec.Struct, kw_only=True):
    """An error as JSON, on the wire and from ``lbctl -o json``."""

    code: str
    kind: str
    message: str
    hint: str = ""
    schema: str = ERROR_SCHEMA
