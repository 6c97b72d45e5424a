"""Decides whose instances count, from the roster and the stores, which are loaded for every view
(protocol/presence.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, Exists, exists, func, select, tuple_

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.mesh.roster import Member, get_anchor, known_members
from librarian_daemon.catalog.upserts import expanding
from librarian_protocol import presence
from librarian_protocol.journal_state import JournalState
from librarian_protocol.names import SiteName
from librarian_protocol.segments import MAX_ENTRIES
from librarian_protocol.wanted import InstanceState


class Holders(msgspec.Struct, frozen=True):
    """Sites and stores, as the roster and the journals have them."""

    #: None before this site is of any mesh: nobody is revoked there.
    members: Mapping[SiteName, Member] | None
    #: Why what stands in a store, by (site, id), counts nowhere; stores that count are left out.
    stores_out: Mapping[tuple[str, str], str]

    def counts(self, site: str, store: str = "") -> bool:
        """Whether what the site holds in the store counts."""
        return not self.why_not(site, store)

    def why_not(self, site: str, store: str = "") -> str:
        """``revoked``, ``retired``, ``undeclared``, or "" where it counts."""
        member = None if self.members is None else self.members.get(SiteName(site))
        if self.members is not None and not presence.counts(member):
            return "revoked"
        return self.stores_out.get((site, store), "")

    def store_counts(self, site: str, store: str) -> bool:
        """Whether the store counts, regardless of its site."""
        return (site, store) not in self.stores_out


def holders(connection: Connection) -> Holders:
    """As they are now."""
    members = known_members(connection) if get_anchor(connection) is not None else None
    anew = {str(site): member for site, member in (members or {}).items() if member.former}
    out = dict.fromkeys(((row.site, row.id) for row in connection.execute(_RETIRED)), "retired")
    if anew:
        for row in connection.execute(_DECLARED, {"sites": list(anew)}):
            if not presence.is_declared(anew[row.site], row.key or ""):
                out[row.site, row.id] = "undeclared"
    return Holders(members, out)


def good_elsewhere(other: Any, known: Holders) -> Exists:
    """An instance in ``other`` that is good and counts."""
    good = exists().where(other.state == InstanceState.AVAILABLE)
    if known.members is not None:
        good = good.where(other.site.in_(sorted(str(site) for site in known.members if known.counts(str(site)))))
    if known.stores_out:
        good = good.where(tuple_(other.site, other.store).not_in(sorted(known.stores_out)))
    return good


def only_in(connection: Connection, site: SiteName, store: str, known: Holders) -> int:
    """How many files have a good instance in a store of this site and in no other store anywhere that counts."""
    mine, other = schema.instance.alias("mine").c, schema.instance.alias("other").c
    another = (other.site != str(site)) | (other.store != store)
    elsewhere = good_elsewhere(other, known).where(other.file_id == mine.file_id, another)
    held = (mine.site == str(site), mine.store == store, mine.state == InstanceState.AVAILABLE)
    return connection.scalar(select(func.count()).where(*held, ~elsewhere)) or 0


_STORE, _JOURNAL = schema.store.c, schema.journal.c
_RETIRED = select(_STORE.site, _STORE.id).where(_STORE.retired.is_(True))
#: With the key that signed the declaration. An outer join, since SQLite begins with the left side of one.
_DECLARED = (
    select(_STORE.site, _STORE.id, _JOURNAL.key)
    .outerjoin(
        schema.journal,
        (_JOURNAL.site == _STORE.site)
        & (_JOURNAL.incarnation == _STORE.incarnation)
        & _JOURNAL.first_seq.between(_STORE.seq - MAX_ENTRIES + 1, _STORE.seq)
        & (_JOURNAL.last_seq >= _STORE.seq)
        & (_JOURNAL.state == JournalState.APPLIED),
    )
    .where(_STORE.site.in_(expanding("sites")), _STORE.retired.is_(False))
)
