"""The lander: brings verified bytes from staging to their names by the commit protocol (``landing/commit.py``).

This module applies the outcomes to transfers. Used by the replicator for each batch, and once at the start for what a
crash interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec
import structlog

from librarian_daemon.catalog import attributes, landings
from librarian_daemon.catalog.committer import Catalog, Tx
from librarian_daemon.catalog.transfers import planning, transfers, transitions
from librarian_daemon.catalog.transfers.transfers import TransferView
from librarian_daemon.catalog.transfers.transitions import Transition
from librarian_daemon.landing import commit
from librarian_daemon.landing.commit import Ends, Steps
from librarian_daemon.ports.incidents import Incidents
from librarian_daemon.ports.staging_keys import list_key, transfer_key, transfer_keys
from librarian_daemon.ports.store import Action, Landing, NotPlaced, Store
from librarian_daemon.ports.time import Clock
from librarian_daemon.runtime.metrics import Metrics
from librarian_protocol.attributes import Attributes
from librarian_protocol.entries import How, InstanceRegistered, Unit
from librarian_protocol.errors import LibrarianError, NameOccupied
from librarian_protocol.names import SiteName
from librarian_protocol.transfer import Cancel, Fail, Land, State
from librarian_protocol.transfer import Store as StoreEvent
from librarian_protocol.transfer_reasons import reason_of


class Arrived(msgspec.Struct, frozen=True, kw_only=True):
    """A transfer whose verified bytes are in staging."""

    owed: TransferView
    source: SiteName
    adapter: str
    batch: str
    #: Whether another instance can be tried if this one cannot be placed.
    other_source: bool
    #: Where a book's manifest is staged; "" for a single file.
    manifest_key: str = ""


_WITHOUT = "stored; times and modes of its members could not be fetched (docs/attributes.md)"


class Lander:
    """Lands transfers into the stores of this site."""

    def __init__(self, catalog: Catalog, clock: Clock, metrics: Metrics, incidents: Incidents) -> None:
        self._catalog = catalog
        self._incidents = incidents
        self._clock = clock
        self._metrics = metrics
        self._log = structlog.get_logger("lander")

    async def land(self, store: Store, staging_root: str, arrived: Sequence[Arrived]) -> None:
        """Land all; every one of them has an outcome in the catalog when this returns."""
        by_id = {str(file.owed.id): file for file in arrived}
        kept = await self._catalog.read(attributes.of_files, [file.owed.row.file_id for file in arrived])
        without: set[str] = set()

        async def begin(sealed: Sequence[Landing]) -> Sequence[Landing]:
            begun = await self._catalog.write(self._begin, sealed, by_id)
            going = {landing.id for landing in begun}
            unused = [
                key
                for landing in sealed
                for key in transfer_keys(by_id[landing.id].owed.id)
                if landing.id not in going
                or (landing.unit is Unit.BOOK and key == list_key(landing.rel) and not landing.list_rel)
            ]
            if unused:
                await store.discard(unused)
            without.update(
                landing.id
                for landing in begun
                if landing.attributes.list is None and kept[by_id[landing.id].owed.row.file_id].list
            )
            return begun

        await commit.land(
            store,
            [_landing(store, staging_root, file, kept.get(file.owed.row.file_id, Attributes())) for file in arrived],
            Steps(
                not_sealed=partial(self._fail, by_id),
                begin=begin,
                accept=partial(self._finish, by_id, without),
                not_placed=partial(self._fail, by_id),
            ),
        )

    def _begin(self, tx: Tx, ready: Sequence[Landing], by_id: dict[str, Arrived]) -> list[Landing]:
        """Landing rows for the transfers that are still wanted; the others are cancelled."""
        now_s = self._clock.boottime_s()
        arrived = [by_id[landing.id] for landing in ready]
        frozen = planning.frozen(tx.connection, [file.owed.row.file_id for file in arrived])
        below = landings.below_files(tx.connection, [file.owed.name for file in arrived])
        moves: list[Transition] = []
        for file in arrived:
            above = below.get(file.owed.name)
            if file.owed.row.file_id in frozen:
                moves.append(Transition(view=file.owed, event=Cancel(), message="in conflict, or withdrawn"))
            elif above is not None:
                moves.append(failure(file.owed, NameOccupied(f"the name lies below the file {above!a}"), False))
            else:
                moves.append(Transition(view=file.owed, event=Land(), batch=file.batch))
        taken = transitions.apply_transitions(tx, moves, now_s)
        going = [
            landing
            for landing in ready
            if (now := taken.get(by_id[landing.id].owed.id)) is not None and now.state is State.LANDED
        ]
        return landings.begin(tx, going)

    async def _finish(self, by_id: dict[str, Arrived], without: set[str], done: Sequence[Landing]) -> None:
        """``without``: ids of landings without their members' attributes."""
        if not done:
            return

        def work(tx: Tx) -> list[Landing]:
            said = landings.finish(tx, done)
            moves = [
                Transition(
                    view=by_id[landing.id].owed, event=StoreEvent(), message=_WITHOUT if landing.id in without else ""
                )
                for landing in said
            ]
            transitions.apply_transitions(tx, moves, self._clock.boottime_s())
            return said

        said = await self._catalog.write(work)
        sums: dict[tuple[SiteName, str], list[int]] = {}
        for landing in said:
            file = by_id[landing.id]
            sums.setdefault((file.source, file.adapter), []).append(landing.size_bytes)
            self._log.debug("file_stored", transfer=landing.transfer, name=landing.name, peer=file.source)
            await self._healed(landing)
        for (peer, adapter), sizes in sums.items():
            self._metrics.stored_files.labels(peer=peer, adapter=adapter).inc(len(sizes))
            self._metrics.stored_bytes.labels(peer=peer, adapter=adapter).inc(sum(sizes))
            self._log.info("stored", peer=peer, files=len(sizes), size_bytes=sum(sizes), first=said[0].name)

    async def _healed(self, landing: Landing) -> None:
        """Resolve the incident of a bad instance that good bytes replaced."""
        if landing.action is Action.HEAL:
            self._log.warning("instance_healed", name=landing.name, transfer=landing.transfer)
            await self._incidents.resolve("instance-suspected", landing.name)

    async def _fail(self, by_id: dict[str, Arrived], failed: Sequence[NotPlaced]) -> None:
        if not failed:
            return

        def work(tx: Tx) -> None:
            landings.abandon(tx, [unplaced.landing for unplaced in failed])
            moves = [
                failure(by_id[unplaced.landing.id].owed, unplaced.error, by_id[unplaced.landing.id].other_source)
                for unplaced in failed
            ]
            transitions.apply_transitions(tx, moves, self._clock.boottime_s())

        await self._catalog.write(work)
        for unplaced in failed:
            self._log.warning("not_stored", transfer=unplaced.landing.transfer, error=unplaced.error.message)

    async def recover(self, store: Store) -> int:
        """Finish or give up the landings that a crash left between row and commit. Returns how many were finished.

        Called once, before any service runs.
        """
        finished = 0

        async def accept(done: Sequence[Landing]) -> None:
            nonlocal finished
            for landing in done:
                await self._catalog.write(_register_recovered, landing, self._clock.boottime_s())
                await self._healed(landing)
                finished += 1

        left = await self._catalog.read(landings.unfinished, store.id)
        mine = [landing for landing in left if landing.transfer is not None]
        await commit.recover(store, mine, Ends(accept=accept, not_placed=self._give_up))
        return finished

    async def _give_up(self, failed: Sequence[NotPlaced]) -> None:
        for failure in failed:
            self._log.warning("landing_given_up", name=failure.landing.name, error=failure.error.message)
            await self._catalog.write(landings.abandon, [failure.landing])


def _register_recovered(tx: Tx, landing: Landing, now_s: float) -> None:
    landings.finish(tx, [landing])
    assert landing.transfer is not None
    owed = transfers.by_id(tx.connection, landing.transfer)
    if owed is not None:
        transitions.apply_transitions(tx, [Transition(view=owed, event=StoreEvent())], now_s)


def failure(owed: TransferView, error: LibrarianError, other_source: bool, *, progressed: bool = False) -> Transition:
    """What an error means for a transfer. ``progressed``: its batch had received something before."""
    return Transition(view=owed, event=Fail(reason_of(error), other_source, progressed), message=error.message)


def _landing(store: Store, staging_root: str, file: Arrived, kept: Attributes) -> Landing:
    owed = file.owed
    return Landing(
        id=str(owed.id),
        store=store.id,
        root=staging_root,
        rel=transfer_key(owed.id),
        name=owed.name,
        digest=owed.digest,
        size_bytes=owed.size_bytes,
        unit=owed.unit,
        manifest_rel=file.manifest_key if owed.unit is Unit.BOOK else "",
        entry=InstanceRegistered(
            name=owed.name,
            digest=owed.digest,
            size_bytes=owed.size_bytes,
            unit=owed.unit,
            store=store.id,
            source_site=file.source,
            how=How.PULLED,
        ),
        transfer=owed.id,
        attributes=kept,
        list_rel=list_key(transfer_key(owed.id)) if owed.unit is Unit.BOOK and kept.list is not None else "",
    )
