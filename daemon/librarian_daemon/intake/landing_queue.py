"""Batches that were claimed and read while others landed: they land together, as far as that changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from librarian_daemon.intake.directory.scanner import Kind
from librarian_daemon.intake.examined import Ready
from librarian_daemon.intake.ingest import Batch


class Queued(msgspec.Struct, frozen=True):
    """What lands together."""

    #: Of the directories in ``.claimed``.
    names: Sequence[bytes]
    batch: Batch
    ready: Sequence[Ready]


class LandingQueue:
    """At most one batch's worth of files. Single files dropped one by one would otherwise land one by one."""

    def __init__(self, most_files: int, most_bytes: int) -> None:
        self._most_files = most_files
        self._most_bytes = most_bytes
        self._names: list[bytes] = []
        self._batches: list[Batch] = []
        self._ready: list[Ready] = []
        self._rels: set[bytes] = set()
        self._bytes = 0
        #: Set whenever nothing waits.
        self._empty = asyncio.Event()
        self._empty.set()
        self._changed = asyncio.Event()

    def __bool__(self) -> bool:
        return bool(self._names)

    async def put(self, name: bytes, batch: Batch, ready: Sequence[Ready]) -> None:
        """It waits, once there is room for it beside those that wait: an empty queue has room for anything.

        Books land alone, since they may be larger than any batch. So does what has the path of one that waits: what it
        means depends on that one.
        """
        while self and not self._fits(batch, ready):
            await self._empty.wait()
        self._names.append(name)
        self._batches.append(batch)
        self._ready.extend(ready)
        self._rels.update(claimed.rel for claimed in batch.claimed)
        self._bytes += _bytes_of(ready)
        self._empty.clear()
        self._changed.set()

    async def changed(self) -> None:
        """Wait until something was put, or :meth:`look_again`."""
        await self._changed.wait()
        self._changed.clear()

    def look_again(self) -> None:
        """Wake who waits in :meth:`changed`."""
        self._changed.set()

    def _fits(self, batch: Batch, ready: Sequence[Ready]) -> bool:
        rels = {claimed.rel for claimed in batch.claimed}
        return (
            all(claimed.kind is Kind.FILE for some in (*self._batches, batch) for claimed in some.claimed)
            and all(before.store == batch.store for before in self._batches)
            and self._rels.isdisjoint(rels)
            and len(self._rels) + len(rels) <= self._most_files
            and self._bytes + _bytes_of(ready) <= self._most_bytes
        )

    def take(self) -> Queued:
        """All that waits; it waits no more."""
        may_rename = {batch.may_rename for batch in self._batches}
        together = Batch(
            store=self._batches[0].store,
            claimed=[claimed for batch in self._batches for claimed in batch.claimed],
            may_rename=may_rename.pop() if len(may_rename) == 1 else None,
        )
        queued = Queued(self._names, together, self._ready)
        self.clear()
        return queued

    def clear(self) -> None:
        """Forget it: it is found in ``.claimed``."""
        self._names, self._batches, self._ready, self._rels, self._bytes = [], [], [], set(), 0
        self._empty.set()


def _bytes_of(ready: Sequence[Ready]) -> int:
    return sum(file.found.size_bytes for file in ready)
