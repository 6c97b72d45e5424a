"""Reading stores again, and stores that are frozen."""

from __future__ import annotations

from typing import Annotated

import msgspec

from librarian_protocol.entries import NO_NUL


class ScrubStatus(msgspec.Struct, kw_only=True):
    """How reading one store of this site again stands."""

    store: str
    label: str
    #: The pass that goes on, or the last one; 0 before the first.
    number: int
    #: ``reading``, ``waiting`` for its hours, or ``idle`` until the next pass.
    state: str
    began_at: str | None
    ended_at: str | None
    #: What the pass has read, how much the store holds, and which part of it that is.
    files: int
    bytes: int
    held_bytes: int
    covered: float
    #: Instances of the store that were found bad since the pass began.
    bad: int
    #: When the least recently verified instance was read; None where nothing is stored, or it never was.
    oldest_at: str | None
    oldest_s: float
    #: Every byte is to be read within this time, at this rate.
    every_s: int
    rate_bytes_s: int
    #: By how much some instance will have been unread for longer than that; 0 where none will.
    miss_s: float
    #: Why the store neither vouches nor evicts; "" where it does.
    frozen: str = ""
    frozen_at: str | None = None


class ScrubRun(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /scrub/run``: read this store (its id or label) again now; None: all."""

    store: str | None = None


class StoreThaw(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /store/thaw``: a frozen store (its id or label) counts again."""

    store: str
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=1024, pattern=NO_NUL)]
