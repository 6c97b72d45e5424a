"""What sites declare of themselves and of one another, as rows: the columns beside those that say who wrote it."""

from __future__ import annotations

from typing import Any

from librarian_protocol import wire
from librarian_protocol.entries import (
    USUAL_PRIORITY,
    SiteAdmitted,
    SiteAnnounced,
    SiteRevoked,
    StoreDeclared,
    StoreRetired,
    SubscriptionDeclared,
    SubscriptionWithdrawn,
)

Row = dict[str, Any]
#: Of a subscription that has ended.
_UNLIMITED: Row = {"max_bytes": None, "newest_s": None, "priority": USUAL_PRIORITY, "via": "any", "spread": False}


def subscription(entry: SubscriptionDeclared | SubscriptionWithdrawn) -> Row:
    """Of ``schema.subscription``."""
    if isinstance(entry, SubscriptionWithdrawn):
        ended: Row = {"from_site": None, "match": "", "into": "[]", **_UNLIMITED}
        return {"id": entry.subscription, "withdrawn": True, **ended}
    return {
        "id": entry.subscription,
        "withdrawn": False,
        "from_site": entry.from_site and str(entry.from_site),
        "match": entry.match,
        "into": wire.encode(entry.into).decode(),
        **{field: getattr(entry, field) for field in _UNLIMITED},
    }


def limits(row: Any) -> Row:
    """The limits of a row of ``schema.subscription``, as fields of its entry."""
    return {field: getattr(row, field) for field in _UNLIMITED} | {"spread": bool(row.spread)}


def store(entry: StoreDeclared | StoreRetired) -> Row:
    """Of ``schema.store``."""
    if isinstance(entry, StoreRetired):
        ended: Row = {"label": "", "role": "", "technology": "", "active": False, "ingestable": False}
        return {"id": entry.store, "retired": True, **ended}
    return {
        "id": entry.store,
        "retired": False,
        "label": entry.label,
        "role": entry.role.value,
        "technology": entry.technology,
        "active": entry.active,
        "ingestable": entry.ingestable,
    }


def admission(entry: SiteAdmitted | SiteRevoked) -> Row:
    """Of ``schema.admission``."""
    row: Row = {
        "key": entry.key,
        "former": wire.encode(entry.former).decode(),
        "domain": entry.domain,
        "grants": wire.encode(entry.grants).decode(),
        "cutoff": wire.encode(entry.cutoff).decode() if entry.cutoff else None,
        "tips": wire.encode(entry.tips).decode() if isinstance(entry.tips, list) else None,
        "statement": entry.statement,
        "administrator": entry.administrator,
    }
    if isinstance(entry, SiteRevoked):
        ended: Row = {"access": "", "bus": "[]", "leaf": None, "may_admit": False}
        return row | ended | {"revoked": True, "reason": entry.reason}
    return row | {
        "revoked": False,
        "access": entry.access.value,
        "bus": wire.encode(entry.bus).decode(),
        "leaf": entry.leaf,
        "may_admit": entry.may_admit,
        "reason": "",
    }


def announcement(entry: SiteAnnounced) -> Row:
    """Of ``schema.announcement``."""
    return {
        "software": entry.software,
        "adapters": wire.encode(entry.adapters).decode(),
        "certificate": entry.certificate,
        "leaf_address": entry.leaf_address,
    }
