"""Reading requests of the control API, and writing its answers."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from aiohttp import web

from librarian_protocol import api, wire
from librarian_protocol.errors import ArgumentInvalid, CatalogFault, LibrarianError

T = TypeVar("T")
_STATUS = {4: 404, 10: 503, 5: 503, 11: 409, 12: 403, 2: 400}


def text_of(request: web.Request, key: str) -> str:
    """A required parameter of the query."""
    text = request.query.get(key, "")
    if not text:
        raise ArgumentInvalid(f"{request.path} needs {key!r}")
    return text


def number_of(request: web.Request, key: str, default: int, most: int, *, least: int = 0) -> int:
    """A number in the query between ``least`` and ``most``, or the default."""
    text = request.query.get(key)
    if text is None:
        return default
    try:
        number = int(text)
    except ValueError as exc:
        raise ArgumentInvalid(f"{key}={text!r} is not a number") from exc
    if not least <= number <= most:
        raise ArgumentInvalid(f"{key}={number} is not between {least} and {most}")
    return number


def limit_of(request: web.Request, default: int, most: int) -> int:
    """The number of items in a page: ``limit`` of the query, at most ``most``; 0 means a full page."""
    limit = number_of(request, "limit", default, 1 << 62)
    return min(limit, most) if limit else most


async def body_of(request: web.Request, decoder: msgspec.json.Decoder[T]) -> T:
    """The decoded body."""
    try:
        return decoder.decode(await request.read())
    except msgspec.MsgspecError as exc:
        raise ArgumentInvalid(f"the body of {request.path} does not decode: {exc}") from exc


def answer(value: object) -> web.Response:
    """Anything as JSON."""
    return web.Response(body=wire.encode(value), content_type="application/json")


def refusal(error: LibrarianError) -> web.Response:
    """An error as JSON, with the status that fits it."""
    body = api.ErrorBody(code=error.code, kind=error.kind, message=error.message, hint=error.hint)
    return web.Response(status=status_of(error), body=wire.encode(body), content_type="application/json")


def status_of(error: LibrarianError) -> int:
    """The HTTP status that fits an error."""
    return 500 if isinstance(error, CatalogFault) else _STATUS.get(error.exit_code, 400)
