"""What is fetched."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from librarian_protocol.entries import MAX_SIZE_BYTES, USUAL_PRIORITY, SizeBytes

OnFull = Literal["wait", "deactivate"]


class Subscription(msgspec.Struct, kw_only=True):
    """A subscription; ``site`` is whose it is."""

    id: str
    site: str
    from_site: str | None
    match: str
    into: list[str]
    #: Labels of the stores, where they are this site's.
    labels: list[str]
    #: Larger files are not fetched; None: there is no limit.
    max_bytes: int | None = None
    #: Files that were ingested so many seconds ago, or longer, are not fetched; None: whatever their age.
    newest_s: int | None = None
    #: From 0 to 9; 9 is fetched first.
    priority: int = USUAL_PRIORITY
    #: Of this site's own ones.
    on_full: OnFull = "wait"


class SubscriptionAdd(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /subscriptions``; ``into`` are labels or ids of stores, empty for all ingestable ones."""

    from_site: str | None
    match: str = "**"
    into: list[str] = []
    #: Only files that are heard of from now on.
    new_only: bool = False
    max_bytes: SizeBytes | None = None
    newest_s: Annotated[int, Meta(ge=1, le=MAX_SIZE_BYTES)] | None = None
    #: Where a store is too full for a file: the file waits for room; or the store is set inactive, too.
    on_full: OnFull = "wait"
    priority: Annotated[int, Meta(ge=0, le=9)] = USUAL_PRIORITY
