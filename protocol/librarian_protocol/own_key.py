"""Decides whether the key that a site was started with is its own (docs/keys.md).

No other site accepts what a wrong key signs, and later segments of the right key build on it: others hold all of that
back for ever. So a start with a key that is certainly wrong is refused. A site may also have been given another
key elsewhere and not have heard of it: it must start, or it never hears.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

import msgspec


class Fit(StrEnum):
    """What the key in the file is."""

    #: It is the site's, or nothing says that it is not.
    OWN = "own"
    #: It was the site's before: the roster knows the one that came after it.
    FORMER = "former"
    #: Another one has signed what this site said.
    FOREIGN = "foreign"


class KeyEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What catalog, stores and key directory tell. Public keys; None where nothing tells."""

    #: This site's key, as the roster has it.
    roster: str | None = None
    #: Every other key that the roster has for it.
    former: Collection[str] = ()
    #: The one that the daemon ran with the last time on this catalog.
    ran_with: str | None = None
    #: Whether the key in the file signed the first and the last segment that was said here; None: nothing was said.
    signed_first: bool | None = None
    signed_last: bool | None = None
    #: The key that ``lbctl site rekey`` has made, and the daemon goes over to now.
    waiting: str | None = None
    #: A store tells of more than the catalog holds: it was put back, or is lost, and may not know of the last key.
    behind: bool = False
    #: The key by which the site ran when it told that store; None where the store does not say.
    witnessed: str | None = None


def fit(key: str, known: KeyEvidence) -> Fit:
    """What ``key``, the public key of the file, is."""
    if key == known.roster:
        return Fit.OWN
    if known.waiting is not None and known.waiting == known.roster:
        # The change was said, and the file had not taken the key's place yet: nothing more is signed with this one.
        return Fit.OWN
    if key in known.former:
        return Fit.FORMER
    if known.behind and known.witnessed in {None, key}:
        return Fit.OWN
    if known.ran_with is not None:
        return Fit.OWN if key == known.ran_with else Fit.FOREIGN
    # A catalog of before the last run's key was kept. A site of no mesh could take another key without saying so.
    if known.signed_last and (known.signed_first or known.roster is None):
        return Fit.OWN
    return Fit.OWN if known.signed_last is None else Fit.FOREIGN
