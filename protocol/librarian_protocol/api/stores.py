"""The places that hold bytes."""

from __future__ import annotations

import msgspec


class StoreStatus(msgspec.Struct, kw_only=True):
    """A store of this site."""

    id: str
    label: str
    role: str
    technology: str
    path: str
    state: str
    instances: int
    size_bytes: int
    total_bytes: int
    free_bytes: int
    #: The code of what is wrong; "" where nothing is.
    problem: str = ""


class StoreMark(msgspec.Struct, kw_only=True):
    """Which store's marker is to be put back, and where."""

    path: str
    #: Its id or label.
    store: str


class StoreMarked(msgspec.Struct, kw_only=True):
    """A store that has its marker again, and what was found there of what the catalog knows."""

    id: str
    label: str
    path: str
    #: Its marker stood there already.
    was_marked: bool
    looked: int
    found: int
    missing: int
    wrong: int
    examples: list[str] = []


class StoreRetire(msgspec.Struct, kw_only=True):
    """A store that is to count no more."""

    #: Its id or label.
    store: str
    #: Its bytes are gone, or given up.
    lost: bool = False


class StoreRetired(msgspec.Struct, kw_only=True):
    """A store that counts no more, and what counted as held there."""

    id: str
    label: str
    instances: int
    #: Files of which it held the only good instance.
    nowhere_else: int
