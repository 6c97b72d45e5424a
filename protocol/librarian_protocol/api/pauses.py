"""Pauses for maintenance."""

from __future__ import annotations

import msgspec


class PauseSet(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /pauses``: what is put off (``intake``, ``transfers``, ``peer:NAME``), for how long, and why."""

    what: str
    for_s: int
    reason: str
    #: Who says so.
    by: str = ""


class Pause(msgspec.Struct, kw_only=True):
    """A pause for maintenance that is in force, or was ended just now."""

    what: str
    reason: str
    by: str
    since: str
    until: str
    #: Seconds until it ends by itself.
    left_s: int
