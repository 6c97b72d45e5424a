"""Applies the entries of an authentic segment that its site has permission for."""

from __future__ import annotations

from librarian_daemon.catalog.apply import Said
from librarian_daemon.catalog.mesh.roster import Member
from librarian_daemon.catalog.transaction import Tx
from librarian_protocol import globs, segments
from librarian_protocol.entries import (
    Access,
    Entry,
    FileAttributed,
    FileIngested,
    FileWithdrawn,
    HoldDeclared,
    HoldWithdrawn,
    KeepDeclared,
    KeepWithdrawn,
    NameResolved,
    SiteAdmitted,
    SiteRevoked,
)
from librarian_protocol.errors import SegmentInvalid
from librarian_protocol.names import SiteName
from librarian_protocol.segments import Segment

#: Kinds that change which sites are in the mesh, and what they may say.
OF_THE_ROSTER = frozenset({"site.admitted", "site.revoked", "site.rekeyed"})


def apply_segment(tx: Tx, segment: Segment, member: Member | None) -> tuple[int | None, list[str]]:
    """How many entries were applied (None: the kind is of a later version), and why others were refused.

    ``member`` is its site, as the roster has it now.
    """
    found = segments.entries_of(segment)
    if found is None:
        return None, []
    allowed = is_allowed(segment.kind, member)
    good: list[Entry] = []
    refused: list[str] = []
    for entry in found:
        if isinstance(entry, SegmentInvalid):
            refused.append(entry.message)
        elif not allowed and (problem := not_allowed(entry, segment.site, member)):
            refused.append(problem)
        else:
            good.append(entry)
    tx.apply_foreign(good, Said(site=segment.site, epoch=segment.epoch, incarnation=segment.incarnation, change=0))
    return len(good), refused


def is_allowed(kind: str, member: Member | None) -> bool:
    """Whether :func:`not_allowed` has nothing against any entry of the kind, so that it need not be asked of each."""
    if kind in _BY_GRANTS:
        return member is not None and globs.EVERYTHING in member.grants
    return kind not in _BY_RIGHTS


_BY_GRANTS = frozenset({"file.ingested", "file.attributed"})
#: Rules of the mesh.
_RULES = (KeepDeclared, KeepWithdrawn, HoldDeclared, HoldWithdrawn)
_BY_RIGHTS = frozenset(
    {
        "file.withdrawn",
        "name.resolved",
        "site.admitted",
        "site.revoked",
        "keep.declared",
        "keep.withdrawn",
        "hold.declared",
        "hold.withdrawn",
    }
)


def not_allowed(entry: Entry, site: SiteName, member: Member | None) -> str:
    """Why a site has no permission for this entry; "" if it has. A site may always speak of what it has itself."""
    if isinstance(entry, FileIngested | FileAttributed):
        grants = member.grants if member else []
        if not any(globs.matches(grant, entry.name) for grant in grants):
            return f"site {site!r} may not ingest {entry.name!a}: outside its grants"
    if isinstance(entry, FileWithdrawn | NameResolved) and not (member and member.may_admit):
        what = "withdraw" if isinstance(entry, FileWithdrawn) else "resolve"
        return f"site {site!r} may not {what} {entry.name!a}: that is an administrator's word"
    if isinstance(entry, _RULES) and not (member and member.may_rule):
        return f"site {site!r} may not declare or withdraw rules of the mesh: that is an administrator's word"
    if isinstance(entry, SiteAdmitted | SiteRevoked) and member is not None and member.access == Access.CALLBACK:
        return f"site {site!r} may not speak of sites: its access is callback"
    return ""
