"""The roster: which sites are of the mesh, with which keys and rights, as one pure fold (docs/events.md, docs/keys.md).

It begins at the *anchor*, which each site keeps for itself: the mesh, the first site it knew and its key, and the
administrator's public key if there is one. An admission counts if its writer may admit; a writer nearer to the anchor
outranks one that is farther away, and of two equally near the one whose name comes first, so that nobody takes a name
by being early or late. What the administrator signed outranks them all; the greatest number counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

import msgspec

from librarian_protocol import wire
from librarian_protocol.entries import Access, AdapterOffer, Cutoff, SiteAdmitted, SiteRevoked
from librarian_protocol.errors import SignatureInvalid
from librarian_protocol.keys import Purpose, SiteKey, verify
from librarian_protocol.names import SiteName
from librarian_protocol.registers import Version


class Anchor(msgspec.Struct, frozen=True, kw_only=True):
    """What a site believes from the beginning."""

    mesh: str
    site: SiteName
    key: str
    #: The administrator's offline key; None where the mesh has none.
    administrator: str | None = None


class Said(msgspec.Struct, frozen=True):
    """The present state of one register: what one admitter says of one site."""

    admitter: SiteName
    entry: SiteAdmitted | SiteRevoked


class Rekey(msgspec.Struct, frozen=True):
    """A site went over to another key, behind the entry of that version."""

    site: SiteName
    version: Version
    key: str


class Announced(msgspec.Struct, frozen=True, kw_only=True):
    """What a site says of itself."""

    software: str
    offers: list[AdapterOffer]
    certificate: str | None
    leaf_address: str


class Standing(StrEnum):
    """What a segment is worth, by the key that signed it and its place in its site's journal."""

    COUNTS = "counts"
    #: Beyond the cutoff of its site, under a key that had ended there.
    ENDED = "ended"
    #: No key that the site had at that place signed it.
    REFUSED = "refused"


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A site of the roster, or one that was."""

    site: SiteName
    #: What it signs with now.
    key: str
    #: The key it was admitted with, and those it went over to, each with the version behind which it counts.
    keys: Sequence[tuple[Version | None, str]]
    access: str
    domain: str
    grants: list[str]
    bus: list[str]
    leaf: str | None
    may_admit: bool
    #: None for the anchor.
    admitter: SiteName | None
    cutoff: Cutoff | None
    former: Sequence[str]
    revoked: bool
    #: Why it was revoked.
    reason: str
    software: str = ""
    offers: list[AdapterOffer] = []
    certificate: str | None = None
    leaf_address: str = ""

    @property
    def every_key(self) -> list[str]:
        """All keys with which anything of its journal may be signed."""
        return list(dict.fromkeys([*(key for _, key in self.keys), *self.former]))

    def key_fits(self, key: str, place: Version) -> bool:
        """Whether a segment that begins at ``place`` may be signed with ``key``.

        Up to the cutoff with any that counted then; else with the last one that the site went over to before.
        """
        if self.cutoff is not None and not self.revoked and self.within_cutoff(place):
            return key in self.former
        return key == [one for since, one in self.keys if since is None or since < place][-1]

    def within_cutoff(self, place: Version) -> bool:
        """Whether an entry is not beyond the cutoff. Numbers go on for the life of a site, whatever the incarnation."""
        return self.cutoff is None or place.seq <= self.cutoff.seq

    def is_ended(self, key: str, place: Version) -> bool:
        """Whether a held segment does not count: beyond the cutoff of a revoked site, or under a key that had ended."""
        if self.revoked:
            return not self.within_cutoff(place)
        return self.cutoff is not None and not self.within_cutoff(place) and not self.key_fits(key, place)

    def standing(self, key: str, place: Version) -> Standing:
        """What a segment that begins at ``place`` is worth, if it is signed with ``key``.

        The same before and after the roster changed, so that it does not matter which came first.
        """
        if key not in self.every_key:
            return Standing.REFUSED
        if self.is_ended(key, place):
            return Standing.ENDED
        return Standing.COUNTS if self.key_fits(key, place) else Standing.REFUSED


# ---- the administrator's statements ----------------------------------------------------------------------


def statement(mesh: str, entry: SiteAdmitted | SiteRevoked) -> bytes:
    """The bytes that the administrator signs: the mesh and the entry, without what the journal adds to it."""
    bare = msgspec.structs.replace(entry, seq=0, at="", administrator=None)
    kind = "revoked" if isinstance(entry, SiteRevoked) else "admitted"
    return b"\n".join((mesh.encode(), kind.encode(), wire.encode(bare)))


def sign(mesh: str, entry: SiteAdmitted | SiteRevoked, key: SiteKey) -> SiteAdmitted | SiteRevoked:
    """The entry as a statement of the holder of ``key``."""
    return msgspec.structs.replace(entry, administrator=key.sign(Purpose.ROSTER, statement(mesh, entry)))


def is_stated(anchor: Anchor, entry: SiteAdmitted | SiteRevoked) -> bool:
    """Whether the administrator signed it, for this mesh."""
    if anchor.administrator is None or entry.administrator is None:
        return False
    try:
        verify(anchor.administrator, Purpose.ROSTER, statement(anchor.mesh, entry), entry.administrator)
    except SignatureInvalid:
        return False
    return True


# ---- the fold --------------------------------------------------------------------------------------------


def fold(
    anchor: Anchor,
    said: Iterable[Said],
    rekeys: Iterable[Rekey] = (),
    announced: Mapping[SiteName, Announced] | None = None,
) -> dict[SiteName, Member]:
    """All sites that are or were of the mesh. The same for any order of ``said`` and ``rekeys``."""
    by_admitter: dict[SiteName, list[Said]] = {}
    stated: dict[SiteName, Said] = {}
    for one in sorted(said, key=lambda one: (one.admitter, one.entry.site)):
        by_admitter.setdefault(one.admitter, []).append(one)
        if is_stated(anchor, one.entry):
            known = stated.get(one.entry.site)
            if known is None or one.entry.statement > known.entry.statement:
                stated[one.entry.site] = one
    news = announced or {}
    gone_over: dict[SiteName, list[Rekey]] = {}
    for rekey in sorted(rekeys, key=lambda one: one.version):
        gone_over.setdefault(rekey.site, []).append(rekey)

    found: dict[SiteName, Member] = {}

    def take(one: Said) -> None:
        site = one.entry.site
        found[site] = _member(one, anchor, gone_over.get(site, []), news.get(site))

    for site in sorted(stated):
        take(stated[site])
    level, seen = [anchor.site], set[SiteName]()
    while level:
        following: set[SiteName] = set()
        for admitter in sorted(level):
            seen.add(admitter)
            for one in by_admitter.get(admitter, []):
                entry = one.entry
                if entry.site in found:
                    continue
                if entry.site == anchor.site and not (isinstance(entry, SiteAdmitted) and entry.key == anchor.key):
                    continue
                take(one)
        for site, member in found.items():
            if member.may_admit and not member.revoked and site not in seen:
                following.add(site)
        level = sorted(following)
    if anchor.site not in found:
        # Known from the token alone, until its own journal has arrived.
        found[anchor.site] = _member(_assumed(anchor), anchor, gone_over.get(anchor.site, []), news.get(anchor.site))
    return found


def _assumed(anchor: Anchor) -> Said:
    entry = SiteAdmitted(
        site=anchor.site, key=anchor.key, access=Access.FULL, domain="unknown", grants=["**"], may_admit=True
    )
    return Said(anchor.site, entry)


def _member(one: Said, anchor: Anchor, gone_over: Sequence[Rekey], news: Announced | None) -> Member:
    entry = one.entry
    admitted = entry if isinstance(entry, SiteAdmitted) else None
    cutoff = entry.cutoff
    keys: list[tuple[Version | None, str]] = [(None, entry.key)]
    # A re-admission begins a new line of keys behind its cutoff; what led to it before is former.
    ended = cutoff if cutoff is not None and admitted is not None else None
    keys += [(rekey.version, rekey.key) for rekey in gone_over if ended is None or rekey.version.seq > ended.seq]
    former = [
        *entry.former,
        *(rekey.key for rekey in gone_over if ended is not None and rekey.version.seq <= ended.seq),
    ]
    return Member(
        site=entry.site,
        key=keys[-1][1],
        keys=keys,
        access=admitted.access.value if admitted else Access.FULL.value,
        domain=entry.domain,
        grants=entry.grants,
        bus=list(admitted.bus) if admitted else [],
        leaf=admitted.leaf if admitted else None,
        may_admit=admitted is not None and admitted.may_admit,
        admitter=None if entry.site == anchor.site else one.admitter,
        cutoff=cutoff,
        former=former,
        revoked=admitted is None,
        reason=entry.reason if isinstance(entry, SiteRevoked) else "",
        software=news.software if news else "",
        offers=news.offers if news else [],
        certificate=news.certificate if news else None,
        leaf_address=news.leaf_address if news else "",
    )
