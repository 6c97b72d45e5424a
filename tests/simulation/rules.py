"""People who declare rules of the mesh, and withdraw them, whoever declared them."""

from __future__ import annotations

import random

from tests.simulation.world import SimClock, World

from librarian_daemon.catalog import rule_rows
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.mesh.roster import roster
from librarian_daemon.catalog.transaction import Tx
from librarian_protocol.entries import HoldDeclared, HoldWithdrawn, KeepDeclared, KeepWithdrawn

#: At most so long until the next word.
EVERY_S = 40.0


class Rules:
    """Service: a word now and then, at a site that may admit, as long as there are faults."""

    def __init__(self, world: World, catalog: Catalog, clock: SimClock, starts: int) -> None:
        """``starts``: how often the daemon was started. Chances of its own leave those of the others as they are."""
        self._world = world
        self._catalog = catalog
        self._clock = clock
        self._chance = random.Random(f"{catalog.position.site} {starts}")

    async def run(self) -> None:
        """Until the faults are over."""
        while True:
            await self._clock.sleep(EVERY_S * self._chance.random())
            if self._world.faults:
                await self._catalog.write(self._say)

    def _say(self, tx: Tx) -> None:
        mine = roster(tx.connection).get(tx.site)
        if mine is None or not mine.may_admit:
            return
        keeps, holds = rule_rows.keeps(tx.connection), rule_rows.holds(tx.connection)
        directory = f"d{self._chance.randrange(5)}/**"
        match self._chance.randrange(6):
            case 0 if keeps:
                tx.append(KeepWithdrawn(supersedes=[self._chance.choice(keeps).id], reason="it is over"))
            case 1 if holds:
                tx.append(HoldWithdrawn(supersedes=[self._chance.choice(holds).id], reason="it is over"))
            case 2 | 3:
                tx.append(HoldDeclared(match=directory, reason="a test"))
            case number:
                tx.append(KeepDeclared(match=directory, instances=1 + number, domains=1))
        self._world.counts["rule said"] += 1
