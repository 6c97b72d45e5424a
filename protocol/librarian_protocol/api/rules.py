"""Rules of the mesh."""

from __future__ import annotations

import msgspec


class KeepRule(msgspec.Struct, kw_only=True):
    """A keep rule that counts; ``id`` is ``SITE/INCARNATION/NUMBER`` of its entry."""

    id: str
    #: Who declared it.
    site: str
    match: str
    instances: int
    domains: int
    role: str | None
    reason: str
    at: str


class KeepAdd(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /keeps``."""

    match: str
    instances: int
    domains: int
    role: str | None = None
    reason: str = ""


class HoldRule(msgspec.Struct, kw_only=True):
    """A hold that is not withdrawn; ``id`` is ``SITE/INCARNATION/NUMBER`` of its entry."""

    id: str
    #: Who declared it.
    site: str
    match: str
    #: From then on it holds no more; None: until it is withdrawn.
    until: str | None
    #: That moment has passed, by this site's clock.
    over: bool
    reason: str
    at: str


class HoldAdd(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /holds``; ``until`` is a date, or a date and time."""

    match: str
    until: str | None = None
    reason: str
