"""What is fetched."""

from __future__ import annotations

import msgspec


class Subscription(msgspec.Struct, kw_only=True):
    """A subscription; ``site`` is whose it is."""

    id: str
    site: str
    from_site: str | None
    match: str
    into: list[str]
    #: Labels of the stores, where they are this site's.
    labels: list[str]


class SubscriptionAdd(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /subscriptions``; ``into`` are labels or ids of stores, empty for all ingestable ones."""

    from_site: str | None
    match: str = "**"
    into: list[str] = []
    #: Only files that are heard of from now on.
    new_only: bool = False
