"""Where keys of a site end: which part of its journal still counts after a revocation, a readmission or another
admission.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import msgspec
from sqlalchemy import select

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.journal import record, standings
from librarian_daemon.catalog.mesh.roster import Member
from librarian_daemon.catalog.payloads import decompress
from librarian_daemon.catalog.transaction import Tx
from librarian_protocol import segments
from librarian_protocol.entries import Access, Cutoff, SiteAdmitted, SiteRekeyed, SiteRevoked
from librarian_protocol.errors import ArgumentInvalid, NotFound, NotPossible, PeerError
from librarian_protocol.names import SiteName
from librarian_protocol.roster import begun_anew, ends_of

#: What one entry can name.
MAX_TIPS = 64


class Forgotten(msgspec.Struct, frozen=True):
    """Keys of a site that its present admission should name but does not, and where they end, as far as it is known."""

    keys: Sequence[str]
    tips: Sequence[Cutoff]


def held_tips(tx: Tx, site: SiteName) -> list[Cutoff]:
    """The ends of what counts of a site's journal here.

    Raises:
        NotPossible: there are more than an entry can name.
    """
    found = standings.tips(tx.connection, site)
    if len(found) > MAX_TIPS:
        raise NotPossible(
            f"the journal of {site} has {len(found)} ends here; {MAX_TIPS} can be named",
            hint="name those that are believed: --cutoff INCARNATION:SEQ, repeated",
        )
    return found


def named_tips(tx: Tx, site: SiteName, asked: Sequence[tuple[str, int]]) -> list[Cutoff]:
    """The segments that end with these entries, by incarnation and number.

    Raises:
        NotFound: no held segment ends with one of them.
        ArgumentInvalid: two do, for the site told two stories there.
    """
    found: list[Cutoff] = []
    for incarnation, seq in asked:
        hashes = record.hashes_at(tx.connection, site, incarnation, seq)
        if not hashes:
            raise NotFound(
                f"no segment of {site!r} that ends with entry {seq} of incarnation {incarnation} is held here",
                hint=f"`lbctl events tail --site {site} --after 0 --no-follow` lists them",
            )
        if len(hashes) > 1:
            raise ArgumentInvalid(
                f"{site!r} told two stories about entry {seq} of incarnation {incarnation}: name an entry before it"
            )
        found.append(Cutoff(incarnation=incarnation, seq=seq, hash=hashes[0]))
    return found


def said_before(tx: Tx, site: SiteName) -> list[SiteAdmitted | SiteRevoked]:
    """All that this site ever said about another site's admission, in order."""
    journal = schema.journal.c
    rows = tx.connection.scalars(
        select(journal.payload)
        .where(journal.site == str(tx.site), journal.kind.in_(["site.admitted", "site.revoked"]))
        .order_by(journal.epoch, journal.first_seq, journal.position)
    )
    return [
        entry
        for payload in rows
        for entry in segments.entries_of(segments.decode(decompress(payload))) or ()
        if isinstance(entry, SiteAdmitted | SiteRevoked) and entry.site == site
    ]


def forgotten(tx: Tx, member: Member) -> Forgotten:
    """Keys that the site had and that its admission does not name: it was admitted again as if it were a new site.

    They end where this site last said that they end, and where the site's own journal changed to another key.
    """
    before = said_before(tx, member.site)
    keys = {key for entry in before for key in (entry.key, *entry.former)}
    tips: dict[Cutoff, None] = {}
    for entry in before:
        if ends_of(entry) is not None:
            tips = dict.fromkeys(ends_of(entry) or ())
    journal = schema.journal.c
    rows = tx.connection.execute(
        select(journal.payload, journal.signature, journal.hash)
        .where(journal.site == str(member.site), journal.kind == "site.rekeyed")
        .order_by(journal.epoch, journal.first_seq, journal.position)
    )
    for row in rows.all():
        with suppress(PeerError):
            segment, signer = segments.open_of_member(
                decompress(row.payload), row.signature, site=member.site, keys=sorted(keys)
            )
            if signer not in member.every_key:
                tips[Cutoff(incarnation=segment.incarnation, seq=segment.last_seq, hash=row.hash)] = None
            for over in segments.entries_of(segment) or ():
                if isinstance(over, SiteRekeyed):
                    keys.add(over.key)
                    tips |= dict.fromkeys(over.tips) if signer not in member.every_key else {}
    lost = sorted(keys - set(member.every_key))
    return Forgotten(lost, list(tips) if lost else [])


def revoked(tx: Tx, member: Member, reason: str, cutoffs: Sequence[tuple[str, int]]) -> SiteRevoked:
    """The entry that revokes a site, at these entries or at all tips of its journal that count here."""
    lost = forgotten(tx, member)
    return SiteRevoked(
        site=member.site,
        key=member.key,
        former=[key for key in [*member.every_key, *lost.keys] if key != member.key],
        domain=member.domain,
        grants=member.grants,
        reason=reason,
        tips=named_tips(tx, member.site, cutoffs) if cutoffs else held_tips(tx, member.site),
    )


def readmitted(tx: Tx, member: Member, key: str | None, cutoffs: Sequence[tuple[str, int]]) -> SiteAdmitted:
    """The entry that admits a site again: with its key, or with another one.

    Former keys end at these entries; without any, another key ends the present one at all ends of what counts here, and
    what was forgotten of former ones is named again.

    Raises:
        ArgumentInvalid: the key is a former one; cut-offs are given and no key ends; one is needed and none is known.
        NotFound: no such entry is held here.
    """
    lost = forgotten(tx, member)
    entry = msgspec.structs.replace(begun_anew(member), access=_access(tx, member))
    former = [*entry.former, *lost.keys]
    if key is not None and key != member.key:
        if key in former:
            raise ArgumentInvalid(f"{key[:24]}… is a former key of {member.site}: it ended", hint="make another one")
        former = [member.key, *former]
        entry = msgspec.structs.replace(entry, key=key, bus=[], leaf=None)
        tips = held_tips(tx, member.site)
    else:
        tips = list(entry.tips or ())
    if cutoffs:
        if not former:
            raise ArgumentInvalid(
                f"{member.site} goes on under the same key: a cut-off would end nothing",
                hint="give it another key too: --key ed25519:…",
            )
        tips = named_tips(tx, member.site, cutoffs)
    elif lost.keys and not lost.tips:
        raise ArgumentInvalid(
            f"{member.site} had keys that its admission does not name, and nobody said where they end",
            hint="name the last entries that are believed: --cutoff INCARNATION:SEQ, repeated",
        )
    else:
        tips = list(dict.fromkeys([*tips, *lost.tips]))
    if len(former) > MAX_TIPS or len(tips) > MAX_TIPS:
        raise NotPossible(f"{member.site} has {len(former)} former keys and {len(tips)} ends; {MAX_TIPS} can be named")
    return msgspec.structs.replace(entry, former=former, tips=tips if former else None)


def _access(tx: Tx, member: Member) -> Access:
    """What it may read. A revocation does not say that; the admission before it does."""
    if not member.revoked:
        return Access(member.access)
    admissions = [entry.access for entry in said_before(tx, member.site) if isinstance(entry, SiteAdmitted)]
    return admissions[-1] if admissions else Access(member.access)
