"""Where people are told."""

from __future__ import annotations

import msgspec


class Channel(msgspec.Struct, kw_only=True):
    """By what people are told of incidents. ``level`` is the least severity."""

    label: str
    #: The kind of service, never its URL.
    service: str
    level: str
    #: Whether it tells also that one is over.
    over: bool
    every_s: float
    #: Why the last message did not go out; "" where it did, or none was sent.
    problem: str = ""
