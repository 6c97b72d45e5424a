"""A site whose host was taken over: its key tells two stories under one number, and speaks for another site."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from tests.simulation.network import ONLY_FOR
from tests.simulation.site import SimSite, key_of
from tests.simulation.world import World

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.journal import segments
from librarian_protocol import subjects
from librarian_protocol.digests import Digest
from librarian_protocol.entries import FileIngested, Unit
from librarian_protocol.journal_state import JournalState
from librarian_protocol.keys import Purpose
from librarian_protocol.names import Name, SiteName
from librarian_protocol.segments import Cut, cut

FORGED = "forged"


class Robbery:
    """What the attacker does, and what must come of it."""

    def __init__(self, world: World, sites: dict[SiteName, SimSite], robbed: SiteName) -> None:
        self._world = world
        self._robbed = sites[robbed]
        self.honest = [site for name, site in sites.items() if name != robbed]
        self._borrowed: list[Cut] = []

    def commit(self) -> None:
        """The daemon is the attacker's from here on: it says one thing to one site, another to the others."""
        self._world.counts["key stolen"] += 1
        robbed, first = self._robbed, self.honest[0]
        self._world.end(robbed.site, robbed.process, "robbery")
        for told, story in (([first], "one"), (self.honest[1:], "another")):
            for each in told:
                self._say(robbed.site, self._forged(robbed, story), only_for=each.site)
        self._borrowed = self._forged(first, "borrowed")
        self._say(first.site, self._borrowed)

    def _forged(self, of: SimSite, story: str) -> list[Cut]:
        """What goes on from the end of the site's journal, in an incarnation that there never was."""
        known = self.honest[-1].database
        epoch = known.inline(lambda c: c.scalar(_GREATEST_EPOCH.where(schema.journal.c.site == str(of.site)))) or 0
        position = known.inline(segments.next_position, of.site, epoch + 1, "f" * 16)
        name = Name.parse(f"{FORGED}/{story}")
        entry = FileIngested(
            name=name,
            digest=Digest.blake3(story.encode()),
            size_bytes=len(story),
            unit=Unit.FILE,
            store=of.store.id,
            mtime_ns=0,
        )
        return list(cut(position, [entry], self._robbed.clock.utc()))

    def _say(self, site: SiteName, done: Sequence[Cut], *, only_for: SiteName | None = None) -> None:
        key = key_of(self._robbed.site)
        for segment_cut in done:
            signature = key.sign(Purpose.SEGMENT, segment_cut.payload)
            headers = {subjects.SIGNATURE_HEADER: signature, subjects.MESSAGE_ID_HEADER: segment_cut.hash}
            if only_for is not None:
                headers[ONLY_FOR] = only_for
            self._world.streams[site].append(
                subjects.journal(site, segment_cut.segment.kind), segment_cut.payload, headers
            )

    def seen(self) -> bool:
        """Everybody else holds both stories as proof."""
        return all(self._seen_by(site) for site in self.honest)

    def _seen_by(self, site: SimSite) -> bool:
        column = schema.journal.c
        query = select(column.hash).where(column.site == str(self._robbed.site), column.state == JournalState.VOID)
        return len(site.database.outside.execute(query).all()) == 2

    def check(self) -> None:
        """Nobody believes any of it."""
        file, instance, column = schema.file.c, schema.instance.c, schema.journal.c
        claims = (
            select(file.name)
            .join(schema.instance, instance.file_id == file.id)
            .where(file.name.startswith(f"{FORGED}/"))
            .order_by(file.name)
        )
        borrowed = select(column.hash).where(column.hash.in_([segment_cut.hash for segment_cut in self._borrowed]))
        for site in self.honest:
            if believed := [row.name for row in site.database.outside.execute(claims).all()]:
                self._world.violated(f"I6: {site.site} believes {believed}, of a site that told two stories")
            if site.database.outside.execute(borrowed).all():
                self._world.violated(f"I6: {site.site} took what another site's key had signed")
            if not self._seen_by(site):
                self._world.violated(f"I6: {site.site} does not know that {self._robbed.site} told two stories")


_GREATEST_EPOCH = select(schema.journal.c.epoch).order_by(schema.journal.c.epoch.desc()).limit(1)
