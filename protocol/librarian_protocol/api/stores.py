"""The places that hold bytes."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from librarian_protocol.entries import Label, StoreRole
from librarian_protocol.store_settings import USUAL_PRIORITY, Priority

#: Why a person did it.
Reason = Annotated[str, Meta(min_length=1, max_length=500)]


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
    #: Whether anything may come into it, and whether intake and subscriptions may bring new files.
    active: bool = True
    ingestable: bool = True
    #: The lowest is used first.
    priority: int = USUAL_PRIORITY
    #: Free space that stays free, and what transfers and intake are about to write.
    reserve_bytes: int = 0
    promised_bytes: int = 0


class StoreSetting(msgspec.Struct, kw_only=True):
    """A value of a store, as text."""

    key: str
    value: str
    #: ``set`` by a person, ``configured`` in site.toml, or the ``default``.
    origin: str
    #: What would count without the person's word.
    configured: str


class StoreShown(msgspec.Struct, kw_only=True):
    """A store of this site, and where each of its values comes from."""

    id: str
    label: str
    role: str
    path: str
    #: ``file``: it is in site.toml; ``live``: a person added it.
    origin: str
    settings: list[StoreSetting]
    #: Why a person set what is ``set``, and since when.
    reason: str = ""
    at: str = ""


class StoreSet(msgspec.Struct, kw_only=True):
    """What is to count for a store, whatever the configuration says. What is None stays as it is."""

    #: Its id or label.
    store: str
    reason: Reason
    active: bool | None = None
    ingestable: bool | None = None
    priority: Priority | None = None
    reserve: str | None = None


class StoreUnset(msgspec.Struct, kw_only=True):
    """The store for which the configuration is to count again."""

    #: Its id or label.
    store: str


class StoreAdd(msgspec.Struct, kw_only=True):
    """A store that is to be attached."""

    #: Absolute, as the daemon sees it.
    path: str
    label: Label
    role: StoreRole


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
