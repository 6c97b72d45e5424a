"""A site whose host was taken over is revoked, while its key goes on speaking: nobody believes what is not its past.

The thief goes on from the end of its journal, begins it anew with the lowest numbers and a great epoch, and branches
off from the middle: files, removed instances, a site of his own with a grant that once froze every daemon, or rules
where the site might declare them. What it had declared before stays, unless it is readmitted without that right. Some
hear that before they hear of the revocation, and some only after, from those. In half of the runs the site is
readmitted with another key, and the thief goes on with the old one.
"""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy import bindparam, select
from tests.simulation.site import SimSite, key_of
from tests.simulation.world import World

from librarian_daemon.catalog import rule_rows, schema
from librarian_daemon.catalog.committer import end_of_journal
from librarian_daemon.catalog.journal import quarantine, standings
from librarian_daemon.catalog.journal.refold import say_of_roster
from librarian_daemon.catalog.mesh.roster import known_members
from librarian_protocol import segments, subjects
from librarian_protocol.digests import Digest
from librarian_protocol.entries import (
    Access,
    Entry,
    EntryId,
    FileIngested,
    HoldDeclared,
    HoldWithdrawn,
    InstanceRemoved,
    SiteAdmitted,
    SiteRevoked,
    Unit,
)
from librarian_protocol.journal_state import JournalState
from librarian_protocol.keys import Purpose, SiteKey
from librarian_protocol.names import Name, SiteName
from librarian_protocol.roster import ends_of
from librarian_protocol.segments import NO_HASH, Position

LATE = "late"
MALLORY = SiteName("mallory")
#: Segments that the attacker adds at each place, so fast that some are being read when the word is said.
SAID, EVERY_S = 12, 0.025


class Revocation:
    """The attacker speaks, the first site of the mesh revokes, and what must come of it."""

    def __init__(self, world: World, sites: dict[SiteName, SimSite], revoked: SiteName) -> None:
        self._world = world
        self._revoked = sites[revoked]
        self._first = sites[world.names[0]]
        self.honest = [site for name, site in sites.items() if name != revoked]
        #: Rules that counted before; nobody declares any from now on.
        self._rules = self._ruled(self._first)

    def commit(self) -> None:
        """Both begin."""
        world, revoked = self._world, self._revoked
        world.counts["site revoked"] += 1
        world.end(revoked.site, revoked.process, "revocation")
        word = self._word()
        words: list[SiteRevoked | SiteAdmitted] = [word]
        if world.chance.random() < 0.5:
            world.counts["site readmitted"] += 1
            words.append(self._readmission(word))
        self._final = words[-1]
        for position in (self._end(), self._beginning(), self._branch()):
            world.loop.spawn(self._speaking(position), None)
        world.loop.spawn(self._saying(words), None)
        world.loop.spawn(self._apart(), None)

    def _word(self) -> SiteRevoked:
        """The first site's, which names all ends of the journal that count there."""
        site = self._revoked.site
        return SiteRevoked(
            site=site,
            key=key_of(site).public,
            domain=str(site),
            grants=["**"],
            reason="its host was taken over",
            tips=self._first.database.inline(standings.tips, site),
        )

    def _readmission(self, word: SiteRevoked) -> SiteAdmitted:
        return SiteAdmitted(
            site=word.site,
            key=SiteKey(b"another key of a simulated site.").public,
            access=Access.FULL,
            domain=word.domain,
            grants=word.grants,
            former=[word.key],
            tips=list(ends_of(word) or ()),
        )

    def _end(self) -> Position:
        """Where its journal ends for the first site."""
        seq, last = self._first.database.inline(end_of_journal, self._revoked.site)
        return self._behind(seq, last)

    def _beginning(self) -> Position:
        return Position(site=self._revoked.site, epoch=1000, incarnation="a" * 16, seq=0, hash=NO_HASH)

    def _branch(self) -> Position:
        """Behind a segment in the middle, with an epoch above all others."""
        rows = self._first.database.outside.execute(_COUNTING, {"of": str(self._revoked.site)}).all()
        if not rows:
            return self._beginning()
        row = self._world.chance.choice(rows)
        return Position(site=self._revoked.site, epoch=1001, incarnation="b" * 16, seq=row.last_seq, hash=row.hash)

    def _behind(self, seq: int, last: str) -> Position:
        row = self._first.database.outside.execute(_BY_HASH.where(schema.journal.c.hash == last)).one()
        return Position(site=self._revoked.site, epoch=row.epoch, incarnation=row.incarnation, seq=seq, hash=last)

    async def _speaking(self, position: Position) -> None:
        world, site = self._world, self._revoked.site
        for number in range(SAID):
            await asyncio.sleep(2 * EVERY_S * world.chance.random())
            for done in segments.cut(position, [self._lie(position, number)], self._revoked.clock.utc()):
                position = segments.following(position, done)
                headers = {
                    subjects.SIGNATURE_HEADER: key_of(site).sign(Purpose.SEGMENT, done.payload),
                    subjects.MESSAGE_ID_HEADER: done.hash,
                }
                world.streams[site].append(subjects.journal(site, done.segment.kind), done.payload, headers)

    def _lie(self, position: Position, number: int) -> Entry:
        """A file, a site of his own, or that an instance of the site is gone.

        A site that may admit does admit until it is revoked: that is no lie. It lies about rules.
        """
        name = Name.parse(f"{LATE}/{position.incarnation}/{number}")
        facts: dict[str, Any] = {
            "name": name,
            "digest": Digest.blake3(name.encode()),
            "size_bytes": 1,
            "unit": Unit.FILE,
        }
        store = self._revoked.store.id
        if number % 3 == 1 and self._may_admit:
            ended = [rule for rule in self._rules if self._world.chance.random() < 0.5]
            return (
                HoldWithdrawn(supersedes=ended, reason="a lie") if ended else HoldDeclared(match="**", reason="a lie")
            )
        if number % 3 == 1:
            return SiteAdmitted(
                site=MALLORY,
                key=key_of(MALLORY).public,
                access=Access.FULL,
                domain="mallory",
                grants=["**?" * 12 + "x"],  # by which a matcher that tries again freezes whoever asks it
                may_admit=True,
            )
        held = self._first.database.outside.execute(_INSTANCES, {"of": str(self._revoked.site)}).all()
        if number % 3 == 2 and held:
            row = self._world.chance.choice(held)
            facts = {
                "name": Name.parse(row.name),
                "digest": Digest.parse(row.digest),
                "size_bytes": row.size_bytes,
                "unit": Unit(row.unit),
            }
            return InstanceRemoved(**facts, store=store, reason="a lie")
        return FileIngested(**facts, store=store, mtime_ns=0)

    async def _saying(self, words: list[SiteRevoked | SiteAdmitted]) -> None:
        """As a person does it: again, where the daemon died or its catalog was put back before it was heard."""
        first = self._first
        await asyncio.sleep(self._world.chance.random() * SAID * EVERY_S)
        while True:
            well = not first.process.dead and first.database.inline(quarantine.state) is None
            if well and not self._seen_by(first):
                for word in words:
                    self._world.loop.spawn(first.catalog.write(say_of_roster, word), first.process)
            await asyncio.sleep(5.0)

    async def _apart(self) -> None:
        """One of the others does not hear of it for a while, and goes on listening to the attacker."""
        late = self._world.chance.choice([site.site for site in self.honest if site is not self._first])
        link = frozenset((self._first.site, late))
        self._world.cuts.add(link)
        await asyncio.sleep(10 * self._world.chance.random())
        self._world.cuts.discard(link)

    def seen(self) -> bool:
        """Everybody else has heard that it is revoked, and holds the same of its journal up to the cutoff."""
        return len({self._held_by(site) for site in self.honest}) == 1 and all(map(self._seen_by, self.honest))

    @property
    def _may_admit(self) -> bool:
        return self._revoked.site == self._world.names[1]

    @staticmethod
    def _ruled(site: SimSite) -> list[EntryId]:
        """The rules that count there."""
        return [
            *(rule.id for rule in site.database.inline(rule_rows.keeps)),
            *(rule.id for rule in site.database.inline(rule_rows.holds)),
        ]

    def _held_by(self, site: SimSite) -> tuple[str, ...]:
        return tuple(site.database.outside.scalars(_HELD, {"of": str(self._revoked.site)}).all())

    def _seen_by(self, site: SimSite) -> bool:
        member = site.database.inline(known_members)[self._revoked.site]
        return (member.revoked, member.key) == (isinstance(self._final, SiteRevoked), self._final.key)

    def check(self) -> None:
        """Nobody believes anything of it that is not the past of the tips."""
        file, instance = schema.file.c, schema.instance.c
        claims = (
            select(file.name)
            .join(schema.instance, instance.file_id == file.id)
            .where(file.name.startswith(f"{LATE}/"))
            .order_by(file.name)
        )
        lied = select(file.name).join(schema.instance, instance.file_id == file.id).where(instance.detail == "a lie")
        for site in self.honest:
            for query in (claims, lied):
                if believed := [row.name for row in site.database.outside.execute(query).all()]:
                    self._world.violated(f"I6: {site.site} believes {believed}, beyond the cutoff of a revoked site")
            if isinstance(self._final, SiteRevoked) and self._ruled(site) != self._rules:
                self._world.violated(f"I6: at {site.site} other rules count than before the revocation")
            if MALLORY in site.database.inline(known_members):
                self._world.violated(f"I6: {site.site} believes that the thief admitted a site")
            if not self._seen_by(site) or self._held_by(site) != self._held_by(self.honest[0]):
                self._world.violated(
                    f"I6: {site.site} does not know what {self._revoked.site} said, or that it is revoked"
                )


_HELD = (
    select(schema.journal.c.hash)
    .where(schema.journal.c.site == bindparam("of"), schema.journal.c.state != JournalState.ENDED)
    .order_by(schema.journal.c.hash)
)
_BY_HASH = select(schema.journal.c.epoch, schema.journal.c.incarnation)
_COUNTING = (
    select(schema.journal.c.hash, schema.journal.c.last_seq)
    .where(schema.journal.c.site == bindparam("of"), schema.journal.c.state == JournalState.APPLIED)
    .order_by(schema.journal.c.hash)
)
_INSTANCES = (
    select(schema.file.c.name, schema.file.c.digest, schema.file.c.size_bytes, schema.file.c.unit)
    .join(schema.instance, schema.instance.c.file_id == schema.file.c.id)
    .where(schema.instance.c.site == bindparam("of"))
    .order_by(schema.file.c.name, schema.file.c.digest)
)
