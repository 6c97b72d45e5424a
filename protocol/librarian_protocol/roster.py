"""The roster: which sites are of the mesh, with which keys and rights, as one pure fold (docs/events.md, docs/keys.md).

It begins at the *anchor*, which each site keeps for itself: the mesh, the first site it knew and its key, and the
administrator's public key if there is one. An admission counts if its writer may admit; a writer nearer to the anchor
outranks one that is farther away, and of two equally near the one whose name comes first, so that nobody takes a name
by being early or late. What the administrator signed outranks them all; the greatest number counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum

import msgspec

from librarian_protocol import wire
from librarian_protocol.entries import Access, AdapterOffer, Cutoff, SiteAdmitted, SiteRevoked
from librarian_protocol.errors import SignatureInvalid
from librarian_protocol.history import End
from librarian_protocol.keys import Purpose, SiteKey, verify
from librarian_protocol.names import SiteName
from librarian_protocol.versions import Version


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


class Rekey(msgspec.Struct, frozen=True, kw_only=True):
    """A site changed to another key, after the entry of that version."""

    site: SiteName
    version: Version
    key: str
    #: Of the segment that says so, and which key signed it.
    hash: str
    signer: str
    #: The other ends of its journal, where the former key counts too.
    tips: Sequence[Cutoff] = ()

    @property
    def ends(self) -> tuple[Cutoff, ...]:
        """All ends of what the former key signed."""
        return (Cutoff(incarnation=self.version.incarnation, seq=self.version.seq, hash=self.hash), *self.tips)


class Announced(msgspec.Struct, frozen=True, kw_only=True):
    """What a site says of itself."""

    software: str
    offers: list[AdapterOffer]
    certificate: str | None
    leaf_address: str


class KeyStatus(StrEnum):
    """Whether a segment counts, by the key that signed it and its place in its site's journal."""

    COUNTS = "counts"
    #: Its key ended, and nothing at which it ended is built on this segment.
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
    #: Keys of before its admission.
    former: Sequence[str]
    #: Where each key ended, if it did: a segment counts if it is in the past of all of these ends.
    ends: Mapping[str, Sequence[End]]
    revoked: bool
    #: Why it was revoked.
    reason: str
    #: It is revoked, and might admit others if nobody had been revoked.
    might_admit: bool = False
    software: str = ""
    offers: list[AdapterOffer] = []
    certificate: str | None = None
    leaf_address: str = ""

    @property
    def may_rule(self) -> bool:
        """Whether its rules of the mesh count: those that a site declared before it was revoked stay."""
        return self.may_admit or self.might_admit

    @property
    def every_key(self) -> list[str]:
        """All keys with which anything of its journal may be signed."""
        return list(dict.fromkeys([*(key for _, key in self.keys), *self.former]))

    def is_of_now(self, key: str) -> bool:
        """Whether ``key`` is the one of its present admission, or one that it went over to since."""
        return any(key == known for _, known in self.keys)

    def key_fits(self, key: str, place: Version) -> bool:
        """Whether a segment that begins at ``place`` is not too early for ``key``: the site had gone over to it.

        Where a key ends is not decided by places: whoever has it can sign any number (:attr:`ends`).
        """
        return key in self.former or any(
            key == known and (since is None or since < place) for since, known in self.keys
        )

    def standing(self, key: str, place: Version, is_past: Callable[[End], bool]) -> KeyStatus:
        """What a segment that begins at ``place`` is worth, if it is signed with ``key``.

        ``is_past`` says whether it is in the past of an end. The same before and after the roster changed, so that it
        does not matter which came first.
        """
        if not self.key_fits(key, place):
            return KeyStatus.REFUSED
        return KeyStatus.COUNTS if all(is_past(end) for end in self.ends.get(key, ())) else KeyStatus.ENDED

    @property
    def tips(self) -> list[Cutoff]:
        """All segments at which keys of it ended."""
        return list(dict.fromkeys(tip for ends in self.ends.values() for end in ends for tip in end.tips))


def ends_of(entry: SiteAdmitted | SiteRevoked) -> Sequence[Cutoff] | None:
    """Where the keys end that it ends; None where it does not say. Before there were tips, it named one or none."""
    if isinstance(entry.tips, list):
        return entry.tips
    return None if entry.cutoff is None else [entry.cutoff]


def begun_anew(member: Member) -> SiteAdmitted:
    """The admission that makes a site what it is, under its present key alone: a new directory can begin with it.

    All other keys are former ones, and end where they do now. Other entries count neither more nor less than before.
    """
    former = [key for key in member.every_key if key != member.key]
    return SiteAdmitted(
        site=member.site,
        key=member.key,
        access=Access(member.access),
        domain=member.domain,
        grants=member.grants,
        bus=member.bus,
        leaf=member.leaf,
        may_admit=member.may_admit,
        former=former,
        tips=member.tips if former else None,
    )


def carried_on(member: Member | None, entry: SiteAdmitted) -> SiteAdmitted:
    """The admission of a site under its present key, which names its former ones as before, and where they end."""
    if member is None:
        return entry
    before = begun_anew(member)
    return msgspec.structs.replace(entry, former=before.former, tips=before.tips)


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
    before: Iterable[Said] = (),
) -> dict[SiteName, Member]:
    """All sites that are or were of the mesh. The same for any order of the arguments.

    ``before``: of the registers that are revocations, the last admissions.
    """
    present, changes = list(said), list(rekeys)
    found = _folded(anchor, present, changes, announced)
    if not any(member.revoked for member in found.values()):
        return found
    admitted = [statement for statement in present if isinstance(statement.entry, SiteAdmitted)]
    unrevoked = _folded(anchor, [*admitted, *before], changes, announced)
    return {
        site: msgspec.structs.replace(
            member, might_admit=member.revoked and site in unrevoked and unrevoked[site].may_admit
        )
        for site, member in found.items()
    }


def _folded(
    anchor: Anchor, said: Iterable[Said], rekeys: Iterable[Rekey], announced: Mapping[SiteName, Announced] | None
) -> dict[SiteName, Member]:
    by_admitter: dict[SiteName, list[Said]] = {}
    stated: dict[SiteName, Said] = {}
    for statement in sorted(said, key=lambda statement: (statement.admitter, statement.entry.site)):
        by_admitter.setdefault(statement.admitter, []).append(statement)
        if is_stated(anchor, statement.entry):
            known = stated.get(statement.entry.site)
            if known is None or statement.entry.statement > known.entry.statement:
                stated[statement.entry.site] = statement
    news = announced or {}
    gone_over: dict[SiteName, list[Rekey]] = {}
    for rekey in sorted(rekeys, key=lambda change: change.version):
        gone_over.setdefault(rekey.site, []).append(rekey)

    found: dict[SiteName, Member] = {}

    def take(statement: Said) -> None:
        site = statement.entry.site
        found[site] = _member(statement, anchor, gone_over.get(site, []), news.get(site))

    for site in sorted(stated):
        take(stated[site])
    level, seen = [anchor.site], set[SiteName]()
    while level:
        following: set[SiteName] = set()
        for admitter in sorted(level):
            seen.add(admitter)
            for statement in by_admitter.get(admitter, []):
                entry = statement.entry
                if entry.site in found:
                    continue
                if entry.site == anchor.site and not (isinstance(entry, SiteAdmitted) and entry.key == anchor.key):
                    continue
                take(statement)
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


def _member(statement: Said, anchor: Anchor, gone_over: Sequence[Rekey], news: Announced | None) -> Member:
    entry = statement.entry
    admitted = entry if isinstance(entry, SiteAdmitted) else None
    keys: list[tuple[Version | None, str]] = [(None, entry.key)]
    former, ends = list(entry.former), dict[str, list[End]]()
    for rekey in gone_over:
        if rekey.signer == keys[-1][1]:
            ends[rekey.signer] = [End(rekey.ends)]
            keys.append((rekey.version, rekey.key))
        else:  # said before an admission that begins anew
            former.append(rekey.key)
    present = keys[-1][1]
    tips = ends_of(entry)
    line = {key for _, key in keys}
    if admitted is not None:
        ends.pop(present, None)  # it went back to a key that it had before
    # Without tips former keys count for nothing; what a revoked site said with its own ones all stays.
    ended = [key for key in [*line, *former] if key not in line or (admitted is None and tips is not None)]
    for key in dict.fromkeys(ended):
        ends.setdefault(key, []).append(End(tuple(tips or ())))
    return Member(
        site=entry.site,
        key=present,
        keys=keys,
        access=admitted.access.value if admitted else Access.FULL.value,
        domain=entry.domain,
        grants=entry.grants,
        bus=list(admitted.bus) if admitted else [],
        leaf=admitted.leaf if admitted else None,
        may_admit=admitted is not None and admitted.may_admit,
        admitter=None if entry.site == anchor.site else statement.admitter,
        former=former,
        ends=ends,
        revoked=admitted is None,
        reason=entry.reason if isinstance(entry, SiteRevoked) else "",
        software=news.software if news else "",
        offers=news.offers if news else [],
        certificate=news.certificate if news else None,
        leaf_address=news.leaf_address if news else "",
    )
