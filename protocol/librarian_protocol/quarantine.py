"""Recovery quarantine: what a site may do after its catalog was restored or lost, and when that ends
(docs/adr/0012-rewind-and-quarantine.md).

It takes files in, publishes, transfers and serves. It does not vouch for an instance, nor evict one, until every site
that could hold entries of its own has been heard, all of those entries are here again, and every name in its stores was
compared with the catalog. Nothing of this depends on a clock.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from librarian_protocol.entries import Access
from librarian_protocol.names import SiteName
from librarian_protocol.roster import Member

#: The last thing that is waited for.
COMPARING = "names in the stores are not compared with the catalog yet"


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """How far it has come. Kept in the catalog."""

    #: For people.
    since: str
    reasons: tuple[str, ...] = ()
    #: Peers whose heads were heard since it began.
    heard: frozenset[SiteName] = frozenset()
    #: Names and rows were compared since the last of this site's own entries came back.
    compared: bool = False
    #: Another daemon runs as this site: its incarnation. Nothing goes on until a person has ended that and restarted.
    twin: str = ""


def begin(known: Recovery | None, reason: str, at: str) -> Recovery:
    """It begins, or begins again: names must be compared once more."""
    if known is None:
        return Recovery(since=at, reasons=(reason,))
    reasons = known.reasons if reason in known.reasons else (*known.reasons, reason)[-8:]
    return msgspec.structs.replace(known, reasons=reasons, compared=False)


def with_twin(known: Recovery | None, incarnation: str, at: str) -> Recovery:
    """Another daemon was heard that runs as this site."""
    return msgspec.structs.replace(known or Recovery(since=at), twin=incarnation, compared=False)


def at_start(known: Recovery, at: str) -> Recovery:
    """After a twin all is heard and compared once more: what it told is this site's journal, too."""
    if not known.twin:
        return known
    return begin(Recovery(since=known.since, reasons=known.reasons), "another daemon had run as this site", at)


def awaited(recovery: Recovery, site: SiteName, members: Mapping[SiteName, Member]) -> list[SiteName]:
    """Peers that must still be heard: all that hold journals and were not revoked."""
    return sorted(
        peer
        for peer, member in members.items()
        if peer != site and not member.revoked and member.access != Access.CALLBACK and peer not in recovery.heard
    )


def waits_for(
    recovery: Recovery,
    site: SiteName,
    members: Mapping[SiteName, Member],
    missing: Collection[str],
    away: Collection[SiteName] = (),
) -> list[str]:
    """What the quarantine waits for, in words; empty when it is over. ``missing`` are journal tips not held here.

    ``away`` are sites that are down or silent: they may never come back, and only a person knows.

    Names are compared last: what others know of a file must be known here, or it would be taken for a new one.
    """
    if recovery.twin:
        return ["another daemon runs as this site: stop it for good, then restart this one (incident `twin`)"]
    if not members:
        return ["this site has lost which mesh it is of: invite it anew, `lbctl site join TOKEN`"]
    found = [_has_not_told(peer, peer in away) for peer in awaited(recovery, site, members)]
    if missing:
        found.append(f"{len(missing)} journal ends are at others and not here yet")
    if not found and not recovery.compared:
        found.append(COMPARING)
    return found


def _has_not_told(peer: SiteName, away: bool) -> str:
    said = f"{peer} has not told what it holds"
    return (
        f"{said}, and is not heard: if it will not come back, `lbctl site revoke {peer} --reason WHY`" if away else said
    )


def may_vouch(recovery: Recovery | None) -> bool:
    """Whether this site may vouch for its instances, or evict one."""
    return recovery is None
