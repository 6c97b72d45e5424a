"""What can be set of a store: by ``site.toml``, and by a person while the daemon runs. Pure."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from msgspec import Meta

from librarian_protocol import sizes
from librarian_protocol.errors import ArgumentInvalid

#: A store with a lower priority is used first.
Priority = Annotated[int, Meta(ge=0, le=1_000_000)]
USUAL_PRIORITY = 100
#: Of the size of the store: 1 GiB for one of 50 GiB, less for smaller ones.
USUAL_RESERVE = "2%"
_SHARE = re.compile(r"([0-9]{1,2})(?:\.([0-9]))?%", re.ASCII)


class StoreValues(msgspec.Struct, frozen=True, kw_only=True):
    """How a store is used."""

    #: Whether anything may come into it. Its files are served in any case.
    active: bool = True
    #: Whether intake and subscriptions may bring new files.
    ingestable: bool = True
    priority: Priority = USUAL_PRIORITY
    #: Free space that stays free: a size, or a share of the whole.
    reserve: str = USUAL_RESERVE


class StoreOverrides(msgspec.Struct, frozen=True, kw_only=True):
    """What a person set. None: as the configuration says."""

    active: bool | None = None
    ingestable: bool | None = None
    priority: Priority | None = None
    reserve: str | None = None


#: The keys of both.
KEYS = StoreValues.__struct_fields__


def in_force(configured: StoreValues, overrides: StoreOverrides) -> StoreValues:
    """What counts: a person's word, else the configuration's."""
    said = {key: value for key, value in msgspec.structs.asdict(overrides).items() if value is not None}
    return msgspec.structs.replace(configured, **said)


def merged(before: StoreOverrides, new: StoreOverrides) -> StoreOverrides:
    """Overrides with further ones; what these do not say stays."""
    said = {key: value for key, value in msgspec.structs.asdict(new).items() if value is not None}
    return msgspec.structs.replace(before, **said)


def origin(key: str, configured: StoreValues, overrides: StoreOverrides) -> str:
    """Where a value comes from: ``set``, ``configured`` or ``default``."""
    if getattr(overrides, key) is not None:
        return "set"
    return "default" if getattr(configured, key) == getattr(StoreValues(), key) else "configured"


def reserve_bytes(reserve: str, total_bytes: int) -> int:
    """Bytes of ``50GiB`` or ``5%`` of a store of so many bytes.

    Raises:
        ArgumentInvalid: it is neither a size nor a share below 100 %.
    """
    share = _SHARE.fullmatch(reserve)
    if share is not None:
        return total_bytes * (int(share[1]) * 10 + int(share[2] or 0)) // 1000
    try:
        return sizes.bytes_of(reserve)
    except ArgumentInvalid as exc:
        raise ArgumentInvalid(f"{reserve[:40]!a} is no reserve", hint='such as "50GiB" or "5%"') from exc
