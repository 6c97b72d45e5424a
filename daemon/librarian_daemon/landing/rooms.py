"""How much room the stores have, and which of them takes what: asked by all that bring bytes into stores.

What is promised counts as written (``catalog/stores/promises.py``): of two files that fit alone and not together, one
begins. The numbers of one look are of one moment: what is promised is read before the space is measured.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Protocol

import msgspec

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.stores import attached, promises
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.ports.store import Space
from librarian_protocol.errors import StoreFull
from librarian_protocol.names import SiteName
from librarian_protocol.store_choice import Candidate
from librarian_protocol.store_settings import reserve_bytes


class Seen(Protocol):
    """How a store is now."""

    @property
    def code(self) -> str:
        """What is wrong with it; "" if nothing is."""
        ...

    @property
    def message(self) -> str:
        """The same, for people."""
        ...

    @property
    def space(self) -> Space | None:
        """None if it cannot be measured."""
        ...


class Health(Protocol):
    """Whoever examines stores (``incidents/store_health.py``)."""

    async def room(self, store_id: str) -> Seen:
        """How it is now. Returns within seconds."""
        ...

    def doubt(self, store_id: str) -> None:
        """Something failed there: it is examined at the next look."""
        ...


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """The stores of this site at one moment, by their ids."""

    candidates: Mapping[str, Candidate]
    #: What was promised of each.
    promised: Mapping[str, int]
    #: What is wrong with each; "" where nothing is.
    codes: Mapping[str, str]

    def left(self, tx: Tx) -> dict[str, int]:
        """The room of each in bytes, less what others have promised since."""
        now = promises.promised(tx.connection)
        return {
            id_: candidate.room_bytes - max(now.get(id_, 0) - self.promised.get(id_, 0), 0)
            for id_, candidate in self.candidates.items()
        }


class Rooms:
    """Looks at stores."""

    def __init__(self, catalog: Catalog, site: SiteName, health: Health) -> None:
        self._catalog = catalog
        self._site = site
        self._health = health
        #: Bytes by store that transfers have written of what is promised to them.
        self._written: Callable[[], Mapping[str, int]] = dict
        #: Why a store takes nothing new from intake, by id.
        self.closed: Mapping[str, str] = {}
        self._watchers: list[Callable[[], None]] = []
        #: Sets a store inactive, by its label, for a reason.
        self._close: Callable[[str, str], Awaitable[None]] | None = None

    def written_by(self, written: Callable[[], Mapping[str, int]]) -> None:
        """Have these bytes, by store, be taken off what is promised: they count as used already."""
        self._written = written

    def close_by(self, close: Callable[[str, str], Awaitable[None]]) -> None:
        """Have this set stores inactive, by their labels, for a reason."""
        self._close = close

    async def close_full(self, label: str, reason: str) -> None:
        """Set a store inactive because it is full; a person activates it again."""
        if self._close is not None:
            await self._close(label, reason)

    def watch(self, watcher: Callable[[], None]) -> None:
        """Have it called when a person has changed stores."""
        self._watchers.append(watcher)

    async def reload(self) -> None:
        """A person may have changed stores."""
        closed: dict[str, str] = {}
        for store in await self._catalog.read(attached.attached):
            values = store.values
            if not (values.active and values.ingestable):
                what = "inactive" if not values.active else "not ingestable"
                closed[store.id] = f"store {store.label!r} is {what}" + (f": {store.reason}" if store.reason else "")
        self.closed = closed
        for watcher in self._watchers:
            watcher()

    def doubt(self, store: str) -> None:
        """Something failed there."""
        self._health.doubt(store)

    async def look(self, only: Collection[str] | None = None) -> Look:
        """The stores of this site; ``only`` those, or all."""
        written = self._written()
        promised = await self._catalog.read(promises.promised)
        found: dict[str, Candidate] = {}
        codes: dict[str, str] = {}
        for store in (await self._catalog.read(attached.usable, self._site)).values():
            if only is not None and store.id not in only:
                continue
            seen = await self._health.room(store.id)
            codes[store.id] = seen.code
            space = seen.space or Space(total_bytes=0, free_bytes=0, total_inodes=0, free_inodes=0)
            found[store.id] = Candidate(
                id=store.id,
                label=store.label,
                active=store.values.active,
                ingestable=store.values.ingestable,
                priority=store.values.priority,
                problem=seen.message or seen.code,
                exhausted=seen.code == StoreFull.kind.replace("_", "-"),
                total_bytes=space.total_bytes,
                free_bytes=space.free_bytes,
                reserve_bytes=reserve_bytes(store.values.reserve, space.total_bytes),
                promised_bytes=max(promised.get(store.id, 0) - written.get(store.id, 0), 0),
            )
        return Look(candidates=found, promised=promised, codes=codes)

    async def promise(self, id_: str, store: str, size_bytes: int) -> None:
        """Promise room to a claim or an upload, in place of what its id had; to be released at its end.

        Raises:
            StoreFull: it does not fit, beside the reserve and what is promised to others.
        """
        look = await self.look([store])
        candidate = look.candidates.get(store)
        if candidate is None or candidate.problem:
            return  # what is written there says what is wrong
        room_bytes, before = candidate.room_bytes, look.promised.get(store, 0)
        if not await self._catalog.write(promises.promise, id_, store, size_bytes, room_bytes, before):
            raise StoreFull(
                f"store {candidate.label!r} has no room for {size_bytes:,} bytes: {candidate.free_bytes:,} are free,"
                f" {candidate.reserve_bytes:,} stay free, {candidate.promised_bytes:,} are promised",
                hint="free space in it, or `lbctl store set LABEL --reserve SIZE --reason TEXT`",
            )

    def release(self, id_: str) -> None:
        """It is written, or given up. A release that fails is made up for at the next start."""
        released = self._catalog.write_later(lambda tx: promises.release(tx, [id_]))
        released.add_done_callback(lambda done: done.cancelled() or done.exception())
