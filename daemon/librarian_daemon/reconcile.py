"""Comparing a store with the catalog after the catalog was restored or lost (DESIGN 5, Rewound).

First every instance that the catalog knows is looked for, then every name that stands in the store: names and sizes
only; bytes are read where these differ or nothing is known. What the disk shows is what is said. Nothing is moved or
deleted. Outside recovery this is never done: an unknown file is then reported, no more.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import structlog

from librarian_daemon.catalog import reconciling
from librarian_daemon.catalog.holdings import Holding
from librarian_daemon.catalog.writer import Catalog, Tx
from librarian_daemon.ports import Landing
from librarian_daemon.store.looking import Standing
from librarian_daemon.store.posix import PosixStore
from librarian_protocol.digests import Digest
from librarian_protocol.entries import FileIngested, How, InstanceHealed, InstanceRegistered, InstanceSuspected, Unit
from librarian_protocol.errors import NameInvalid
from librarian_protocol.names import Name, SiteName

PAGE = 500
_NOTHING = Digest.blake3(b"")


class Reconciler:
    """Compares; keeps nothing. Broken off, it is begun again, and says nothing twice."""

    def __init__(self, catalog: Catalog, stores: Sequence[PosixStore], site: SiteName) -> None:
        self._catalog = catalog
        self._stores = stores
        self._site = site
        self._log = structlog.get_logger("reconcile")
        #: What was found, for status and logs.
        self.looked = 0
        self.stated = 0

    async def run(self) -> None:
        """Compare every store with the catalog.

        Raises:
            StoreError: a store cannot be looked at; nothing is concluded from that.
        """
        self.looked = self.stated = 0
        for store in self._stores:
            await self._rows(store)
            await self._names(store)
        self._log.info("reconciled", looked=self.looked, stated=self.stated)

    # ---- rows ------------------------------------------------------------------------------------------

    async def _rows(self, store: PosixStore) -> None:
        """Every instance that should be there."""
        after = 0
        while True:
            page = await self._catalog.read(reconciling.instances_after, self._site, store.id, after, PAGE)
            if not page:
                return
            for one in page:
                self.looked += 1
                error = await store.look(_landing(store, one))
                if error is not None and one.state == "available":
                    await self._say(one, _suspected(one, error.message))
                elif error is None and one.state == "suspected":
                    check = await store.check(one.name, one.digest, one.unit, one.size_bytes)
                    if check.error is None:
                        await self._say(one, _healed(one))
            after = page[-1].file_id

    async def _say(self, seen: Holding, entry: InstanceSuspected | InstanceHealed) -> None:
        """Unless the instance has another state by now."""

        def work(tx: Tx) -> bool:
            if reconciling.state(tx.connection, self._site, seen.store, seen.file_id) != seen.state:
                return False
            tx.say(entry)
            return True

        self.stated += await self._catalog.write(work)

    # ---- names -----------------------------------------------------------------------------------------

    async def _names(self, store: PosixStore) -> None:
        """Everything that stands there."""
        pending: list[bytes] = [b""]
        while pending:
            directory = pending.pop()
            async for page in store.entries(directory):
                files = await self._known(page)
                for one in page:
                    if one.other:
                        continue
                    self.looked += 1
                    known = files.get(one.path, [])
                    if one.directory and not any(file.unit is Unit.BOOK for file in known):
                        pending.append(one.path)
                    elif not any(file.here == store.id for file in known):
                        await self._found(store, one, known)

    async def _known(self, page: Sequence[Standing]) -> dict[bytes, list[reconciling.Known]]:
        """What the catalog says of files under these names."""
        names = {name: one.path for one in page if (name := _name(one.path)) is not None}
        found = await self._catalog.read(reconciling.known, self._site, sorted(names))
        return {names[Name(name)]: files for name, files in found.items()}

    async def _found(self, store: PosixStore, one: Standing, known: Sequence[reconciling.Known]) -> None:
        """Something that no row of this store is about: one of the known files of that name, or a new one."""
        name = _name(one.path)
        if name is None:
            self._log.warning("unknown_file", store=store.label, path=os.fsdecode(one.path), reason="no valid name")
            return
        for file in known:
            check = await store.check(name, file.digest, file.unit, file.size_bytes)
            if check.error is None:
                entry = InstanceRegistered(
                    name=name,
                    digest=file.digest,
                    size_bytes=file.size_bytes,
                    unit=file.unit,
                    store=store.id,
                    source_site=self._site,
                    how=How.FOUND,
                )
                self.stated += await self._catalog.write(reconciling.state_found, self._site, entry)
                return
        if known or one.directory:
            self._log.warning("unknown_file", store=store.label, path=str(name), reason="other bytes than are known")
            return
        check = await store.check(name, _NOTHING, Unit.FILE, one.size_bytes)
        if check.digest is None:
            self._log.warning("unknown_file", store=store.label, path=str(name), reason="cannot be read")
            return
        ingested = FileIngested(
            name=name, digest=check.digest, size_bytes=check.size_bytes, unit=Unit.FILE, store=store.id, mtime_ns=0
        )
        self.stated += await self._catalog.write(reconciling.state_found, self._site, ingested)


def _name(path: bytes) -> Name | None:
    try:
        return Name.parse(path.decode())
    except (UnicodeDecodeError, NameInvalid):
        return None


def _suspected(one: Holding, reason: str) -> InstanceSuspected:
    return InstanceSuspected(
        name=one.name,
        digest=one.digest,
        size_bytes=one.size_bytes,
        unit=one.unit,
        store=one.store,
        reason=reason[:1024],
    )


def _healed(one: Holding) -> InstanceHealed:
    return InstanceHealed(name=one.name, digest=one.digest, size_bytes=one.size_bytes, unit=one.unit, store=one.store)


def _landing(store: PosixStore, one: Holding) -> Landing:
    """The instance in the words of what compares it."""
    return Landing(
        id="",
        store=store.id,
        root=store.root,
        rel=str(one.name),
        name=one.name,
        digest=one.digest,
        size_bytes=one.size_bytes,
        unit=one.unit,
        entry=_healed(one),
    )
