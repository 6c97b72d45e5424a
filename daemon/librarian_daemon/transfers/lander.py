"""The lander: brings verified bytes from staging to their names and registers them, in one commit each way.

Seal (durable where they stand), landing rows, rename, and only then the commit that says so (docs/architecture.md, the
commit protocol). Used by the replicator for each batch, and once at the start for what a crash interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import structlog

from librarian_daemon.catalog import landings, planning, transfers
from librarian_daemon.catalog.transfers import Move, Owed
from librarian_daemon.catalog.writer import Catalog, Tx
from librarian_daemon.metrics import Metrics
from librarian_daemon.ports import Clock, Landing, NotPlaced, Placed, Store
from librarian_daemon.reasons import reason_of
from librarian_protocol.entries import How, InstanceRegistered, Unit
from librarian_protocol.errors import LibrarianError, NameOccupied
from librarian_protocol.names import SiteName
from librarian_protocol.transfer import Cancel, Fail, Land, State
from librarian_protocol.transfer import Store as StoreEvent


class Arrived(msgspec.Struct, frozen=True, kw_only=True):
    """A transfer whose verified bytes stand in staging."""

    owed: Owed
    source: SiteName
    adapter: str
    batch: str
    #: Another instance could be tried if this one cannot be placed.
    other_source: bool
    #: Where a book's manifest is staged; "" for a single file.
    manifest_key: str = ""


class Lander:
    """Lands transfers into the stores of this site."""

    def __init__(self, catalog: Catalog, clock: Clock, metrics: Metrics) -> None:
        self._catalog = catalog
        self._clock = clock
        self._metrics = metrics
        self._log = structlog.get_logger("lander")

    async def land(self, store: Store, staging_root: str, arrived: Sequence[Arrived]) -> None:
        """Land all; every one of them has an outcome in the catalog when this returns."""
        by_id = {str(one.owed.id): one for one in arrived}
        sealed = await store.seal([_landing(store, staging_root, one) for one in arrived])
        await self._fail([one for one in sealed if isinstance(one, NotPlaced)], by_id)
        ready = [one for one in sealed if isinstance(one, Landing)]
        begun = await self._catalog.write(self._begin, ready, by_id)
        going = {one.id for one in begun}
        await store.discard([key for one in ready if one.id not in going for key in (one.rel, one.manifest_rel) if key])
        placed = await store.place(begun)
        await self._finish([one.landing for one in placed if isinstance(one, Placed)], by_id)
        await self._fail([one for one in placed if isinstance(one, NotPlaced)], by_id)

    def _begin(self, tx: Tx, ready: Sequence[Landing], by_id: dict[str, Arrived]) -> list[Landing]:
        """Landing rows for those that are still wanted; the others are cancelled."""
        now_s = self._clock.boottime_s()
        arrived = [by_id[one.id] for one in ready]
        frozen = planning.frozen(tx.connection, [one.owed.row.file_id for one in arrived])
        below = landings.below_files(tx.connection, [one.owed.name for one in arrived])
        moves: list[Move] = []
        for one in arrived:
            above = below.get(one.owed.name)
            if one.owed.row.file_id in frozen:
                moves.append(Move(owed=one.owed, event=Cancel(), message="in conflict, or withdrawn"))
            elif above is not None:
                moves.append(failure(one.owed, NameOccupied(f"the name lies below the file {above!a}"), False))
            else:
                moves.append(Move(owed=one.owed, event=Land(), batch=one.batch))
        taken = transfers.take(tx, moves, now_s)
        going = [
            landing
            for landing in ready
            if (now := taken.get(by_id[landing.id].owed.id)) is not None and now.state is State.LANDED
        ]
        landings.begin(tx, going)
        return going

    async def _finish(self, done: Sequence[Landing], by_id: dict[str, Arrived]) -> None:
        if not done:
            return

        def work(tx: Tx) -> list[Landing]:
            said = landings.finish(tx, done)
            moves = [Move(owed=by_id[one.id].owed, event=StoreEvent()) for one in said]
            transfers.take(tx, moves, self._clock.boottime_s())
            return said

        for landing in await self._catalog.write(work):
            one = by_id[landing.id]
            labels = {"peer": one.source, "adapter": one.adapter}
            self._metrics.stored_files.labels(**labels).inc()
            self._metrics.stored_bytes.labels(**labels).inc(landing.size_bytes)
            self._log.info("stored", transfer=landing.transfer, name=landing.name, peer=one.source)

    async def _fail(self, failed: Sequence[NotPlaced], by_id: dict[str, Arrived]) -> None:
        if not failed:
            return

        def work(tx: Tx) -> None:
            landings.abandon(tx, [one.landing for one in failed])
            moves = [
                failure(by_id[one.landing.id].owed, one.error, by_id[one.landing.id].other_source) for one in failed
            ]
            transfers.take(tx, moves, self._clock.boottime_s())

        await self._catalog.write(work)
        for one in failed:
            self._log.warning("not_stored", transfer=one.landing.transfer, error=one.error.message)

    async def recover(self, store: Store) -> int:
        """Finish or give up what a crash left between its landing row and its commit. Says how many were finished.

        Called once, before any service runs.
        """
        finished = 0
        for landing in await self._catalog.read(landings.unfinished, store.id):
            if landing.transfer is None:
                continue
            outcome = await store.recover(landing)
            if isinstance(outcome, Placed):
                await self._catalog.write(_register_recovered, landing, self._clock.boottime_s())
                finished += 1
            else:
                self._log.warning("landing_given_up", name=landing.name, error=outcome.error.message)
                await self._catalog.write(landings.abandon, [landing])
        return finished


def _register_recovered(tx: Tx, landing: Landing, now_s: float) -> None:
    landings.finish(tx, [landing])
    assert landing.transfer is not None
    owed = transfers.by_id(tx.connection, landing.transfer)
    if owed is not None:
        transfers.take(tx, [Move(owed=owed, event=StoreEvent())], now_s)


def failure(owed: Owed, error: LibrarianError, other_source: bool, *, progressed: bool = False) -> Move:
    """What an error means for a transfer. ``progressed``: its batch brought something before."""
    return Move(owed=owed, event=Fail(reason_of(error), other_source, progressed), message=error.message)


def _landing(store: Store, staging_root: str, one: Arrived) -> Landing:
    owed = one.owed
    return Landing(
        id=str(owed.id),
        store=store.id,
        root=staging_root,
        rel=transfers.staging_key(owed.id),
        name=owed.name,
        digest=owed.digest,
        size_bytes=owed.size_bytes,
        unit=owed.unit,
        manifest_rel=one.manifest_key if owed.unit is Unit.BOOK else "",
        entry=InstanceRegistered(
            name=owed.name,
            digest=owed.digest,
            size_bytes=owed.size_bytes,
            unit=owed.unit,
            store=store.id,
            source_site=one.source,
            how=How.PULLED,
        ),
        transfer=owed.id,
    )
