"""Whether the answers are enough to give up an instance of one file. Pure.

Counted are (site, store) pairs, per file and per nonce: never per batch, never twice. A store of the evictor's own site
counts like another site's; in its failure domain it is one with it. What is given up never counts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec

from librarian_protocol.digests import Digest
from librarian_protocol.entries import Access, StoreRole
from librarian_protocol.eviction.refusal import BINDING, Declined, Refusal
from librarian_protocol.eviction.voucher import COUNTING, Round, Vouch
from librarian_protocol.names import Name, SiteName
from librarian_protocol.requirement import Requirement, greatest

#: A store of a site.
Place = tuple[SiteName, str]


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What the site that asks knows of another store and its site, from entries."""

    #: Set by who admitted the site, not claimed by it.
    domain: str
    role: StoreRole
    access: Access = Access.FULL
    revoked: bool = False
    active: bool = True
    #: Its instance of this file: the owner said that it is bad, or a reader's complaint is not answered.
    suspected: bool = False


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for one file."""

    #: The one that the row has now.
    nonce: str
    round: Round
    name: Name
    digest: Digest
    #: What is given up.
    place: Place
    #: What this site itself requires (``requirement.required``).
    keep: Requirement
    #: Round 2: by voucher, the proof that this site computed over its own bytes in trash.
    proofs: Mapping[Place, str] = {}


def counting(attempt: Attempt, vouches: Iterable[Vouch], stores: Mapping[Place, Known]) -> list[Vouch]:
    """Those vouches that count: one for each place."""
    found: dict[Place, Vouch] = {}
    for vouch in _of(attempt, vouches):
        place = (vouch.site, vouch.store)
        known = stores.get(place)
        if known is None or place == attempt.place or not _counts(known, vouch.role):
            continue
        if attempt.round is Round.BYTES and (not vouch.proof or vouch.proof != attempt.proofs.get(place)):
            continue
        found[place] = vouch
    return list(found.values())


def verdict(
    attempt: Attempt,
    vouches: Collection[Vouch],
    stores: Mapping[Place, Known],
    declines: Mapping[Place, Declined] = {},
) -> Refusal | None:
    """None: the requirement is met without what is given up. Else why not, as far as answers came.

    The requirement is the greatest of this site's own and of all that was carried in answers, counted or not.
    """
    for decline in declines.values():
        if decline in BINDING:
            return BINDING[decline]
    keep = greatest([attempt.keep, *(vouch.keep for vouch in _of(attempt, vouches))])
    places = {(vouch.site, vouch.store) for vouch in counting(attempt, vouches, stores)}
    if not places:
        return Refusal.LAST_INSTANCE
    if not _enough(keep, places, stores):
        bad = {place for place, known in stores.items() if known.suspected and place != attempt.place}
        bad |= {place for place, why in declines.items() if why is Declined.SUSPECTED and place in stores}
        return Refusal.SUSPECTED_ELSEWHERE if _enough(keep, places | bad, stores) else Refusal.NOT_ENOUGH_INSTANCES
    if keep.role is not None and not any(stores[place].role is keep.role for place in places):
        return Refusal.NEEDS_ARCHIVE
    return None


def _of(attempt: Attempt, vouches: Iterable[Vouch]) -> Iterable[Vouch]:
    """Answers to this very question: of its nonce, about its file."""
    return (
        vouch
        for vouch in vouches
        if (vouch.nonce, vouch.name, vouch.digest) == (attempt.nonce, attempt.name, attempt.digest)
    )


def _counts(known: Known, said: StoreRole) -> bool:
    # A store has one role for ever: who says another one than was declared is not believed.
    return (
        known.access is Access.FULL
        and not known.revoked
        and known.active
        and not known.suspected
        and known.role is said
        and known.role in COUNTING
    )


def _enough(keep: Requirement, places: Collection[Place], stores: Mapping[Place, Known]) -> bool:
    return len(places) >= keep.instances and len({stores[place].domain for place in places}) >= keep.domains
