"""Sites that all want to give up everything at once, and what must be left whenever they do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from sqlalchemy import Connection, select
from tests.simulation.world import SimClock, World

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.eviction.evictor import Evictor
from librarian_daemon.eviction.evidence import Evidence
from librarian_daemon.ports.store_capabilities import InTrash
from librarian_protocol import wire
from librarian_protocol.digests import Digest
from librarian_protocol.errors import LibrarianError
from librarian_protocol.names import SiteName

#: At most so long until the next wish.
EVERY_S = 8.0
#: Files of one wish.
MOST = 6


class SimEvidence:
    """Implements :class:`librarian_daemon.eviction.evidence.EvidenceKeeper`."""

    async def keep(self, evidence: Evidence) -> Digest:
        return Digest.blake3(wire.encode(evidence))


class Wishes:
    """Service: a person who wants this site to give up some of what it has, as long as there are faults."""

    def __init__(
        self,
        world: World,
        catalog: Catalog,
        clock: SimClock,
        evictor: Evictor,
        store: str,
        starts: int,
        drop_again: Callable[[str], None],
    ) -> None:
        """``drop_again``: somebody drops a file once more."""
        self._drop_again = drop_again
        self._world = world
        self._catalog = catalog
        self._clock = clock
        self._evictor = evictor
        self._store = store
        self._chance = random.Random(f"{catalog.position.site} {starts} wishes")

    async def run(self) -> None:
        """Until the faults are over."""
        while True:
            await self._clock.sleep(EVERY_S * self._chance.random())
            if not self._world.faults:
                continue
            held = await self._catalog.read(_held, self._catalog.position.site)
            if held:
                first = self._chance.randrange(len(held))
                some = held[first : first + MOST]
                going = asyncio.create_task(self._give_up(some))
                if self._chance.random() < 0.3:
                    await self._clock.sleep(3 * self._chance.random())
                    self._drop_again(self._chance.choice(await self._catalog.read(_names, some)))
                await going

    async def _give_up(self, ids: list[int]) -> None:
        wish = self._evictor.wish(self._store, "hand", allow_archive=True)
        try:
            outcomes = await self._evictor.give_up(wish, ids)
        except LibrarianError:
            self._world.counts["wish failed"] += 1
            return
        for outcome in outcomes:
            word = outcome.refusal or ("unfit" if outcome.unfit else "to trash")
            self._world.counts[f"giving up: {word}"] += 1


def _names(connection: Connection, ids: list[int]) -> list[str]:
    return list(connection.scalars(select(schema.file.c.name).where(schema.file.c.id.in_(ids))))


def _held(connection: Connection, site: SiteName) -> list[int]:
    instance = schema.instance.c
    return list(
        connection.scalars(
            select(instance.file_id)
            .where(instance.site == str(site), instance.state == "available")
            .order_by(instance.file_id)
        )
    )


def required(sites: int) -> int:
    """Instances, and failure domains, that each site requires: each site is a domain."""
    return min(2, sites - 1)


def judge(world: World, site: SiteName, what: str, file: InTrash) -> None:
    """Before bytes are renamed to trash, or unlinked there: enough must be left (I3).

    Rules of the mesh only raise what is required; what is known nowhere cannot be held to.
    """
    if not world.evicts:
        return
    others = [disk for name, disk in world.stores.items() if name != site]
    own = world.stores[site]
    if what == "unlink" and own.is_good_at_name(file):
        return
    if what == "rename":
        # Round 1 protects names; what has rotted there, round 2 finds.
        good = sum(disk.holds(file.name) is not None for disk in others)
    else:
        good = sum(
            disk.is_good_at_name(file) or disk.is_good_in_trash(file) or disk.rotted_lately(file.name)
            for disk in others
        )
    world.counts[f"I3 judged: {what}"] += 1
    if good < required(len(world.stores)):
        world.violated(f"I3: {site} is to {what} {file.name}, and {good} good instances are left elsewhere")
