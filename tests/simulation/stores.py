"""Simulated stores: memory that outlives daemons; a power cut takes what was not made durable."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec
from blake3 import blake3
from tests.simulation.giving_up import judge
from tests.simulation.world import World
from tests.support.memory_store import MemoryStore
from tests.support.memory_volume import Volume

from librarian_daemon.ports.store import Landing
from librarian_daemon.ports.store_capabilities import InTrash, trash_place
from librarian_protocol.digests import Digest
from librarian_protocol.errors import StoreFault, StoreFull
from librarian_protocol.names import SiteName

#: So long may pass between the reading for a proof and the end that it allows.
LATELY_S = 700.0


class SimDisk:
    """What of a store outlives the daemon of its site, and what befalls it. Services work on :attr:`store`."""

    def __init__(self, world: World, site: SiteName) -> None:
        self.world = world
        self.site = site
        self.volume = Volume()
        self.full = False
        #: When files rotted.
        self.rotted_s: dict[str, float] = {}
        self.store = MemoryStore(
            self.volume,
            id_=blake3(str(site).encode()).hexdigest()[:32],
            label="main",
            at=self._at,
            unsealed=self._unsealed,
            told=partial(judge, world, site),
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

    def rotted_lately(self, name: str) -> bool:
        """Whether it rotted after it may have been read for a proof: nobody can know that."""
        return self.rotted_s.get(name, -LATELY_S) > self.world.loop.now_s - LATELY_S

    def is_good_at_name(self, file: InTrash) -> bool:
        """Whether a file's bytes stand at its name."""
        data = self.holds(file.name)
        return data is not None and Digest.blake3(data) == file.digest

    def is_good_in_trash(self, file: InTrash) -> bool:
        """Whether they stand in trash, by a list."""
        places = (
            trash_place(nonce, other.number)
            for nonce, files in self.volume.trash_lists.items()
            for other in files
            if (other.name, other.digest) == (file.name, file.digest)
        )
        return any(self.is_good_at_name(msgspec.structs.replace(file, name=place)) for place in places)

    def in_trash(self) -> list[str]:
        """Names of what stands in trash."""
        lists = self.volume.trash_lists.items()
        return [
            file.name for nonce, files in lists for file in files if self.volume.stands(trash_place(nonce, file.number))
        ]

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
