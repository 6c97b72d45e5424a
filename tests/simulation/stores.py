"""Simulated stores: memory that outlives daemons; a power cut takes what was not made durable."""

from __future__ import annotations

from collections.abc import Callable

from blake3 import blake3
from tests.simulation.world import World
from tests.support.memory_store import MemoryStore
from tests.support.memory_volume import Volume

from librarian_daemon.ports.store import Landing
from librarian_protocol.errors import StoreFault, StoreFull
from librarian_protocol.names import SiteName


class SimDisk:
    """What of a store outlives the daemon of its site, and what befalls it. Services work on :attr:`store`."""

    def __init__(self, world: World, site: SiteName) -> None:
        self.world = world
        self.site = site
        self.volume = Volume()
        self.full = False
        self.store = MemoryStore(
            self.volume,
            id_=blake3(str(site).encode()).hexdigest()[:32],
            label="main",
            at=self._at,
            unsealed=self._unsealed,
            reads=self._reads,
        )
        #: Called before an instance is read whole, or in part.
        self.before_reading: Callable[[], None] = lambda: None

    def _reads(self) -> None:
        self.before_reading()

    def lose_power(self) -> None:
        """What was not made durable is torn, empty or gone."""
        staged = self.volume.staged
        for key in sorted(staged):
            inode = staged[key]
            if inode.durable is None:
                fate = self.world.chance.random()
                if fate < 0.4:
                    del staged[key]
                else:
                    del inode.data[int(len(inode.data) * self.world.chance.random()) if fate < 0.7 else 0 :]

    def holds(self, name: str) -> bytes | None:
        """What stands at a name."""
        inode = self.volume.named.get(name)
        return None if inode is None else bytes(inode.data)

    async def _at(self, step: str, what: str) -> None:
        """Before and after each effect time passes, and the site may die; some fail."""
        if step == "fsync":
            if self.world.unlucky(0.005):
                self.world.counts["fsync failed"] += 1
                raise StoreFault("fsync failed")
            return
        await self.world.gate(self.site, step, what)
        if step in {"stage", "write"}:
            self._maybe_fail()

    def _maybe_fail(self) -> None:
        if self.full and self.world.faults:
            raise StoreFull("no space left")
        if self.world.unlucky(0.005):
            self.world.counts["store error"] += 1
            raise StoreFault("an I/O error")

    def _unsealed(self, landing: Landing) -> None:
        self.world.violated(f"I1: {self.site} gives {landing.name} a name before its bytes are durable")
