"""A site whose host was taken over is revoked, while its key goes on speaking: from the cutoff on nobody believes it.

Some hear what it says before they hear that it is revoked, and some only after, from those.
"""

from __future__ import annotations

import asyncio

from sqlalchemy import bindparam, select
from tests.simulation.site import SimSite, key_of
from tests.simulation.world import World

from librarian_daemon.catalog import recovery, schema
from librarian_daemon.catalog.refolding import say_of_roster
from librarian_daemon.catalog.roster import known_members
from librarian_daemon.catalog.writer import end_of_journal
from librarian_protocol import segments, subjects
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Cutoff, FileIngested, SiteRevoked, Unit
from librarian_protocol.keys import Purpose
from librarian_protocol.names import Name, SiteName
from librarian_protocol.segments import Position

LATE = "late"
#: Segments that the attacker adds, so fast that some are being read when the word is said.
SAID, EVERY_S = 30, 0.01


class Revocation:
    """The attacker speaks, the first site of the mesh revokes, and what must come of it."""

    def __init__(self, world: World, sites: dict[SiteName, SimSite], revoked: SiteName) -> None:
        self._world = world
        self._revoked = sites[revoked]
        self._first = sites[world.names[0]]
        self.honest = [one for name, one in sites.items() if name != revoked]

    def commit(self) -> None:
        """Both begin."""
        world, revoked = self._world, self._revoked
        world.counts["site revoked"] += 1
        world.end(revoked.site, revoked.process, "revocation")
        end = self._end()
        world.loop.spawn(self._speaking(end), None)
        entry = SiteRevoked(
            site=revoked.site,
            key=key_of(revoked.site).public,
            domain=str(revoked.site),
            grants=["**"],
            reason="its host was taken over",
            cutoff=Cutoff(incarnation=end.incarnation, seq=end.seq, hash=end.hash),
        )
        world.loop.spawn(self._revoking(entry), None)
        world.loop.spawn(self._apart(), None)

    def _end(self) -> Position:
        """Where its journal ends for the first site."""
        seq, last = self._first.database.inline(end_of_journal, self._revoked.site)
        row = self._first.database.outside.execute(_BY_HASH.where(schema.journal.c.hash == last)).one()
        return Position(site=self._revoked.site, epoch=row.epoch, incarnation=row.incarnation, seq=seq, hash=last)

    async def _speaking(self, position: Position) -> None:
        world, site = self._world, self._revoked.site
        for number in range(SAID):
            await asyncio.sleep(2 * EVERY_S * world.chance.random())
            entry = FileIngested(
                name=Name.parse(f"{LATE}/{number}"),
                digest=Digest.blake3(str(number).encode()),
                size_bytes=1,
                unit=Unit.FILE,
                store=self._revoked.store.id,
                mtime_ns=0,
            )
            for one in segments.cut(position, [entry], self._revoked.clock.utc()):
                position = segments.following(position, one)
                headers = {
                    subjects.SIGNATURE_HEADER: key_of(site).sign(Purpose.SEGMENT, one.payload),
                    subjects.MESSAGE_ID_HEADER: one.hash,
                }
                world.streams[site].append(subjects.journal(site, one.segment.kind), one.payload, headers)

    async def _revoking(self, entry: SiteRevoked) -> None:
        """As a person does it: again, where the daemon died or its catalog was put back before it was heard."""
        first = self._first
        await asyncio.sleep(self._world.chance.random() * SAID * EVERY_S)
        while True:
            well = not first.process.dead and first.database.inline(recovery.state) is None
            if well and not self._seen_by(first):
                self._world.loop.spawn(first.catalog.write(say_of_roster, entry), first.process)
            await asyncio.sleep(5.0)

    async def _apart(self) -> None:
        """One of the others does not hear of it for a while, and goes on listening to the attacker."""
        late = self._world.chance.choice([one.site for one in self.honest if one is not self._first])
        link = frozenset((self._first.site, late))
        self._world.cuts.add(link)
        await asyncio.sleep(10 * self._world.chance.random())
        self._world.cuts.discard(link)

    def seen(self) -> bool:
        """Everybody else has heard that it is revoked, and holds the same of its journal up to the cutoff."""
        return len({self._held_by(one) for one in self.honest}) == 1 and all(map(self._seen_by, self.honest))

    def _held_by(self, one: SimSite) -> tuple[str, ...]:
        return tuple(one.database.outside.scalars(_HELD, {"of": str(self._revoked.site)}).all())

    def _seen_by(self, one: SimSite) -> bool:
        return one.database.inline(known_members)[self._revoked.site].revoked

    def check(self) -> None:
        """Nobody believes any of what it said beyond the cutoff."""
        file, instance = schema.file.c, schema.instance.c
        claims = (
            select(file.name)
            .join(schema.instance, instance.file_id == file.id)
            .where(file.name.startswith(f"{LATE}/"))
            .order_by(file.name)
        )
        for one in self.honest:
            if believed := [row.name for row in one.database.outside.execute(claims).all()]:
                self._world.violated(f"I6: {one.site} believes {believed}, beyond the cutoff of a revoked site")
            if not self._seen_by(one) or self._held_by(one) != self._held_by(self.honest[0]):
                self._world.violated(
                    f"I6: {one.site} does not know what {self._revoked.site} said, or that it is revoked"
                )


_HELD = (
    select(schema.journal.c.hash)
    .where(schema.journal.c.site == bindparam("of"), schema.journal.c.state != "ended")
    .order_by(schema.journal.c.hash)
)
_BY_HASH = select(schema.journal.c.epoch, schema.journal.c.incarnation)
