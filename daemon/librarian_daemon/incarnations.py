"""Beginning an incarnation: at every start, and when a rewind was found (docs/events.md)."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from librarian_daemon import host
from librarian_daemon.catalog import journal, recovery
from librarian_daemon.catalog.writer import Catalog
from librarian_daemon.ports import Rng
from librarian_daemon.store.posix import PosixStore
from librarian_protocol import wire
from librarian_protocol.errors import StoreError
from librarian_protocol.names import SiteName
from librarian_protocol.segments import Position


class Incarnations:
    """Begins this site's incarnations; the stores are witnesses of them."""

    def __init__(self, catalog: Catalog, stores: Sequence[PosixStore], rng: Rng, site: SiteName) -> None:
        self._catalog = catalog
        self._stores = stores
        self._rng = rng
        self._site = site
        self._log = structlog.get_logger("site")

    async def begin(self) -> None:
        """Begin a new incarnation, one epoch above all that catalog and stores know of (docs/events.md)."""
        heads = [host.read_head(text) for store in self._stores if (text := await store.read_head())]
        known = await self._catalog.read(journal.greatest_epoch_begun)
        witnessed = max((head.epoch for head in heads), default=0)
        position = await self.renew(witnessed)
        if any(head.seq > position.seq for head in heads) or witnessed > known:
            message = (
                f"a store tells of epoch {witnessed}, the catalog of epoch {known} and {position.seq} entries:"
                " the catalog was lost, or restored from a backup"
            )
            self._log.error("catalog_behind", epoch=known, witnessed=witnessed)
            await self._catalog.write(recovery.begin, message)
        while await self._catalog.write(journal.apply_unknown):
            pass

    async def renew(self, witnessed: int = 0) -> Position:
        """Begin a new incarnation above ``witnessed`` and all that the catalog knows; stores are told first."""
        known = await self._catalog.read(journal.greatest_epoch_begun)
        epoch = 1 + max(known, witnessed)
        incarnation = self._rng.hex(16)
        position = await self._catalog.read(journal.next_position, self._site, epoch, incarnation)
        head = host.StoreHead(site=self._site, epoch=epoch, incarnation=incarnation, seq=position.seq)
        for store in self._stores:
            try:
                await store.write_head(wire.encode(head).decode())
            except StoreError as exc:
                # A full or read-only store still serves; its head is one witness of several.
                self._log.error("store_head_not_written", store=store.label, error=exc.message)
        await self._catalog.begin(position)
        self._log.info("incarnation_begun", epoch=epoch, incarnation=incarnation, seq=position.seq)
        return position
