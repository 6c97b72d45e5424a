"""Beginning an incarnation: at every start, and when a rewind was found (docs/events.md). Stores witness it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.journal import bounds, quarantine, refold, segments
from librarian_daemon.catalog.meta import get_meta
from librarian_daemon.ports.store import Witness
from librarian_daemon.ports.time import Clock, Rng
from librarian_daemon.runtime import machine
from librarian_protocol import wire
from librarian_protocol.errors import StoreError
from librarian_protocol.names import SiteName
from librarian_protocol.segments import Position

#: A copy of the catalog that is older than this is told from the catalog itself.
WITNESS_EVERY_S = 5.0


async def heads_of(stores: Sequence[Witness]) -> list[machine.StoreHead]:
    """What each store tells of the journal, of those that tell anything; what cannot be read now is withheld.

    Raises:
        ConfigInvalid: what one tells is damaged.
    """
    heads: list[machine.StoreHead] = []
    for store in list(stores):
        try:
            text = await store.read_head()
        except StoreError as exc:
            store.withhold(exc.message)
            continue
        if text:
            heads.append(machine.read_head(text))
    return heads


class Incarnations:
    """Begins this site's incarnations, and a service; the stores are witnesses of how far the journal has got."""

    def __init__(
        self,
        catalog: Catalog,
        stores: Sequence[Witness],
        rng: Rng,
        clock: Clock,
        site: SiteName,
        witness_every_s: float = WITNESS_EVERY_S,
    ) -> None:
        self._catalog = catalog
        self._stores = stores
        self._rng = rng
        self._clock = clock
        self._site = site
        self._witness_every_s = witness_every_s
        #: One word to the stores at a time, so that an older one never replaces a newer one.
        self._telling = asyncio.Lock()
        self._told = 0
        #: The incarnation before this start; "" where there was none.
        self.before = ""
        #: Labels of stores that did not take the last one.
        self._silent: set[str] = set()
        self._log = structlog.get_logger("site")

    async def begin(self) -> None:
        """Begin a new incarnation, one epoch above all that catalog and stores know of (docs/events.md)."""
        heads = await heads_of(self._stores)
        before = await self._catalog.read(get_meta, "incarnation")
        self.before = before or ""
        known = await self._catalog.read(segments.greatest_epoch_begun)
        witnessed = max((head.epoch for head in heads), default=0)
        position = await self.renew(witnessed)
        if any(head.seq > position.seq for head in heads) or witnessed > known:
            await self._behind(witnessed, known, position.seq)
        await self._catalog.write(segments.apply_upgraded)
        await self._catalog.write(quarantine.at_start)
        await self._catalog.write(refold.refold_origins)
        await self._catalog.write(refold.make_again)
        while await self._catalog.write(segments.apply_unknown):
            pass
        for site in await self._catalog.write(bounds.refold_once):
            self._log.warning("folded_anew", peer=site, why="it claimed a file size above the bound")

    async def hear(self, store: Witness) -> None:
        """What a store witnesses that was not there at the start: to be called before it is told anything.

        Raises:
            StoreError: it cannot be read.
            ConfigInvalid: what it tells is damaged.
        """
        text = await store.read_head()
        if not text:
            return
        head = machine.read_head(text)
        known = await self._catalog.read(segments.greatest_epoch_begun)
        if head.seq > self._catalog.position.seq or head.epoch > known:
            await self._behind(head.epoch, known, self._catalog.position.seq)
            await self.renew(head.epoch)

    async def _behind(self, witnessed: int, known: int, seq: int) -> None:
        message = (
            f"a store tells of epoch {witnessed}, the catalog of epoch {known} and {seq} entries:"
            " the catalog was lost, or restored from a backup"
        )
        self._log.error("catalog_behind", epoch=known, witnessed=witnessed)
        await self._catalog.write(quarantine.begin, message)

    async def run(self) -> None:
        """Until cancelled: tell the stores how far the journal has got, whenever it grew or a store did not take it.

        By this a start finds out that the catalog was put back to a copy of the same incarnation, also where nobody
        heard of what had been said since.
        """
        while True:
            async with self._telling:
                position = self._catalog.position
                if position.seq != self._told or self._silent:
                    await self._tell(position)
            await self._clock.sleep(self._witness_every_s)

    async def renew(self, witnessed: int = 0) -> Position:
        """Begin a new incarnation above ``witnessed`` and all that the catalog knows; stores are told first."""
        async with self._telling:
            known = await self._catalog.read(segments.greatest_epoch_begun)
            epoch = 1 + max(known, witnessed)
            incarnation = self._rng.hex(16)
            position = await self._catalog.read(segments.next_position, self._site, epoch, incarnation)
            await self._tell(position)
            await self._catalog.begin(position)
        self._log.info("incarnation_begun", epoch=epoch, incarnation=incarnation, seq=position.seq)
        return position

    async def _tell(self, position: Position) -> None:
        head = machine.StoreHead(
            site=position.site,
            epoch=position.epoch,
            incarnation=position.incarnation,
            seq=position.seq,
            key=self._catalog.public_key,
        )
        for store in list(self._stores):
            try:
                await store.write_head(wire.encode(head).decode())
            except StoreError as exc:
                # A full or read-only store still serves; its head is one witness of several.
                if store.label not in self._silent:
                    self._log.error("store_head_not_written", store=store.label, error=exc.message)
                self._silent.add(store.label)
            else:
                self._silent.discard(store.label)
        self._told = position.seq
