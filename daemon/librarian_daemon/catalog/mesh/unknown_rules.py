"""What sites that may declare rules of the mesh say in kinds of a later version: any of it may be a rule."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, func, select

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.mesh.roster import known_members
from librarian_protocol.display import count
from librarian_protocol.journal_state import JournalState
from librarian_protocol.names import SiteName

#: Of the problem that status shows.
CODE = "unknown-rules"
HINT = "upgrade this site to the version of the site that says it; it is applied then"


class UnknownKind(msgspec.Struct, frozen=True, kw_only=True):
    """Entries that are held raw, of one kind and one site."""

    site: SiteName
    kind: str
    entries: int

    @property
    def message(self) -> str:
        """In words."""
        held = count(self.entries, "entry", "entries")
        return f"{held} of {self.site}, kind {self.kind!r}, of a later version: nothing must be evicted here"


def unknown_kinds(connection: Connection) -> list[UnknownKind]:
    """Kinds that this version does not know, from sites whose rules count. Any of them may be a rule.

    Whoever holds one must not evict anything. Own entries too: this site may have been of a later version before.
    """
    rows = connection.execute(_UNKNOWN).all()
    members = known_members(connection) if rows else {}
    return [
        UnknownKind(site=SiteName(row.site), kind=row.kind, entries=int(row.entries))
        for row in rows
        if (member := members.get(SiteName(row.site))) is not None and member.may_rule
    ]


_JOURNAL = schema.journal.c
_UNKNOWN = (
    select(_JOURNAL.site, _JOURNAL.kind, func.sum(_JOURNAL.last_seq - _JOURNAL.first_seq + 1).label("entries"))
    .where(_JOURNAL.state == JournalState.UNKNOWN)
    .group_by(_JOURNAL.site, _JOURNAL.kind)
    .order_by(_JOURNAL.site, _JOURNAL.kind)
)
