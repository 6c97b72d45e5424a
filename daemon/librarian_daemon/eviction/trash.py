"""The trash of this site's stores: what a start finds there, what is put back, what is emptied."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from librarian_daemon.catalog import eviction_rows as rows
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.eviction_rows import Giving, Kept
from librarian_daemon.catalog.evictions import attempts, facts
from librarian_daemon.catalog.evictions.attempts import Back
from librarian_daemon.ports.incidents import Incidents
from librarian_daemon.ports.store import Store
from librarian_daemon.ports.store_capabilities import InTrash, aside_place, trash_of, trash_place
from librarian_protocol.errors import LibrarianError, SourceMissing, StoreError
from librarian_protocol.eviction.row import Action, Found, at_start
from librarian_protocol.names import SiteName

_PAGE = 200
STUCK = "trash-stuck"
_HINT = "nothing was deleted; look at what stands at the name and in .librarian/trash, it is tried again by itself"


def in_trash(one: Giving) -> InTrash:
    """As the list in trash names it."""
    return InTrash(number=one.number, name=one.name, digest=one.digest, unit=one.unit, size_bytes=one.size_bytes)


class TrashKeeper:
    """Puts back and empties, under the lock of the store's names."""

    def __init__(self, catalog: Catalog, incidents: Incidents, site: SiteName) -> None:
        self._catalog = catalog
        self._incidents = incidents
        self._site = site
        self._log = structlog.get_logger("trash")

    async def recover(self, store: Store) -> None:
        """What a start does, before any service runs: no attempt outlives the incarnation that asked.

        What was pending is available. What stands in trash by a list, and not by the row, is put back now; what stands
        there by both is put back by :meth:`tend`, since it is read then.

        Raises:
            StoreError: the store does not do it.
        """
        if store.can.trash is None:
            return
        await self._catalog.write(attempts.at_start, store.id)
        trash = trash_of(store)
        found = 0
        for nonce, files in (await trash.lists()).items():
            for at in range(0, len(files), _PAGE):
                page = files[at : at + _PAGE]
                found += len(page)
                await self._recover_page(store, nonce, page)
        if found:
            self._log.warning("found_in_trash", store=store.label, files=found)

    async def _recover_page(self, store: Store, nonce: str, files: Sequence[InTrash]) -> None:
        known = await self._catalog.read(facts.by_name, [(file.name, file.digest) for file in files])
        for file in files:
            mine = known.get((file.name, file.digest))
            kept = None if mine is None else mine.giving.get(store.id)
            if kept is not None and kept.away and kept.trash == nonce:
                continue
            row = None if mine is None else mine.row(self._site, store.id)
            if row is not None and at_start(row, Found(trash=nonce)) is Action.UNLINK:
                await trash_of(store).empty(nonce, [file])
                if kept is not None:
                    await self._catalog.write(attempts.emptied, store.id, [kept])
                continue
            # The catalog is older than the trash, or the file landed since.
            moved = await trash_of(store).bring_back(nonce, file, aside=False)
            wrong = await self._wrong(store, nonce, file, moved=moved)
            if wrong is None or isinstance(wrong, SourceMissing):
                said = "" if wrong is None else wrong.message
                if mine is not None:
                    await self._catalog.write(attempts.found_at_start, store.id, mine.file_id, said)
            self._log.warning("put_back_at_start", name=file.name, wrong="" if wrong is None else wrong.message)

    async def tend(self, store: Store) -> None:
        """Put back what a start found and what is in conflict by now, and empty what ended.

        Raises:
            StoreError: the store does not do it; it is tried again.
        """
        while some := await self._catalog.read(rows.voided, store.id, _PAGE):
            if not await self.put_back(store, some):
                break
        while some := await self._catalog.read(rows.in_stage, store.id, [Kept.GONE, Kept.LANDED], _PAGE):
            await self.empty(store, some)
        if conflicts := await self._catalog.read(rows.in_conflict, store.id, _PAGE):
            await self.put_back(store, conflicts)

    async def empty(self, store: Store, some: Sequence[Giving]) -> None:
        """Unlink what is gone, or landed once more.

        Raises:
            StoreError: the store does not do it.
        """
        for nonce in dict.fromkeys(one.trash for one in some):
            mine = [one for one in some if one.trash == nonce]
            await trash_of(store).empty(nonce, [in_trash(one) for one in mine])
            await self._catalog.write(attempts.emptied, store.id, mine)

    async def put_back(self, store: Store, some: Sequence[Giving]) -> int:
        """Bring these back to their names, and read them. Returns of how many that is settled.

        Nothing acts for their attempts from here on: that is committed first.

        Raises:
            StoreError: the store does not do it.
        """
        mine = await self._catalog.write(attempts.void, store.id, some)
        done = len(some) - len(mine)
        for one in mine:
            try:
                done += await self._put_one_back(store, one)
            except LibrarianError as exc:
                self._log.error("not_put_back", name=one.name, error=exc.message)
                await self._incidents.open(STUCK, one.name, exc.message, _HINT)
        return done

    async def _put_one_back(self, store: Store, one: Giving) -> bool:
        """It is renamed under the lock, and read without it: its row says meanwhile that it is in trash."""
        file = in_trash(one)
        async with store.names.alone():
            loser = await self._catalog.read(rows.has_lost_its_name, one.file_id)
            moved = await trash_of(store).bring_back(one.trash, file, aside=loser)
        wrong = await self._wrong(store, one.trash, file, moved=moved, aside=loser)
        if wrong is not None and not isinstance(wrong, SourceMissing):
            await self._incidents.open(STUCK, one.name, wrong.message, _HINT)
            return False
        bad = "" if wrong is None else wrong.message
        back = Back(giving=one, wrong=bad, aside=loser)
        await self._catalog.write(attempts.put_back, self._site, store.id, [back])
        await self._incidents.resolve(STUCK, one.name)
        self._log.info("put_back", name=one.name, store=store.label, wrong=bad)
        return True

    async def _wrong(
        self, store: Store, nonce: str, file: InTrash, *, moved: bool, aside: bool = False
    ) -> LibrarianError | None:
        """What is wrong with the bytes that came back; None: they stand there, and are right.

        ``SourceMissing``: they stand nowhere, or are bad. Any other error: something else has the name.
        """
        place = aside_place(file.digest) if aside else file.name
        check = await store.check(place, file.digest, file.unit, file.size_bytes)
        if isinstance(check.error, StoreError):
            raise check.error
        if check.error is None:
            if not moved:
                await trash_of(store).empty(nonce, [file])
            return None
        if moved:
            return SourceMissing(check.error.message)
        there = await store.check(trash_place(nonce, file.number), file.digest, file.unit, file.size_bytes)
        return SourceMissing(check.error.message) if isinstance(there.error, SourceMissing) else check.error
