"""Drop directories: what waits, what was refused, what is passed over."""

from __future__ import annotations

import msgspec


class WaitingItem(msgspec.Struct, kw_only=True):
    """Something in a drop directory that is not taken yet, and why."""

    name: str
    reason: str
    #: Which member, or what the system said; "" where there is nothing to add.
    detail: str = ""


class IntakeStatus(msgspec.Struct, kw_only=True):
    """A drop directory."""

    path: str
    unit: str
    complete: str
    #: ``watching``, ``polling``, ``paused`` (by an error) or ``maintenance`` (by a person).
    state: str
    detail: str
    accepted: int
    refused: int
    waiting: int
    #: Some of them, those first that a person must do something about.
    waiting_items: list[WaitingItem]
    #: How many wait for each reason.
    waiting_for: dict[str, int] = {}
    #: How many refused things stand in ``.rejected`` now.
    standing_refused: int = 0
    #: What is passed over: how many things by each glob of ``ignore``, at the last walk.
    ignored: dict[str, int] = {}


class Refused(msgspec.Struct, kw_only=True):
    """Something that stands in a drop directory's ``.rejected``."""

    #: Its directory there; unique within the site.
    id: str
    drop: str
    #: As it was dropped, below the drop directory; escaped where it cannot be shown.
    name: str
    #: Kind of the error, such as ``name-taken``, and its code.
    cause: str
    code: str
    at: str
    message: str
    hint: str


class RefusedChoice(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /rejected/retry`` and ``/rejected/return``: which ones. One of the first three must be given."""

    ids: list[str] = []
    cause: str = ""
    all: bool = False
    #: A drop directory; "" for every one.
    drop: str = ""
    #: Return: the directory that they are moved to.
    to: str = ""


class RefusedMoved(msgspec.Struct, kw_only=True):
    """How many were moved, and how many stand where they stood; of these some, each with its problem."""

    moved: int
    left: int
    examples: list[str] = []


class Ignored(msgspec.Struct, kw_only=True):
    """Something in a drop directory that is passed over."""

    drop: str
    name: str
    #: The glob of ``ignore`` that says so.
    glob: str
    size_bytes: int
    changed_at: str
