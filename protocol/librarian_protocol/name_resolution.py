"""Decides what a name means when several digests have it (docs/events.md).

It is computed from all known decisions, without any order between sites. So all sites with the same entries get the
same result. A decision says which digests it was between, and which earlier decisions it supersedes; two that
were made apart and differ bring the conflict back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from librarian_protocol.digests import Digest
from librarian_protocol.entries import EntryId


class Resolution(msgspec.Struct, frozen=True, kw_only=True):
    """A decision for one name."""

    id: EntryId
    keep: Digest
    over: tuple[Digest, ...]
    supersedes: tuple[EntryId, ...]


class Meaning(msgspec.Struct, frozen=True, kw_only=True):
    """What a name means now."""

    #: Nobody has decided, or decisions differ, or a digest turned up that no decision knew.
    conflict: bool
    #: The digest that was decided for, where there are several; the others are set aside.
    kept: Digest | None = None


CONFLICT = Meaning(conflict=True)
CLEAR = Meaning(conflict=False)


def meaning(digests: Collection[Digest], resolutions: Iterable[Resolution]) -> Meaning:
    """Of a name under which these digests stand (withdrawn ones apart)."""
    if len(digests) < 2:
        return CLEAR
    known = list(resolutions)
    ended = {_key(id_) for resolution in known for id_ in resolution.supersedes}
    live = [resolution for resolution in known if _key(resolution.id) not in ended]
    keeps = {resolution.keep for resolution in live}
    if len(keeps) != 1:
        return CONFLICT
    (keep,) = keeps
    considered = {keep} | {digest for resolution in live for digest in resolution.over}
    if keep not in digests or any(digest not in considered for digest in digests):
        return CONFLICT
    return Meaning(conflict=False, kept=keep)


def _key(entry: EntryId) -> tuple[str, str, int]:
    return entry.site, entry.incarnation, entry.seq
