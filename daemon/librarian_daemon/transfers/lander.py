"""The lander: brings verified bytes from staging to their names by the commit protocol (``landing/commit.py``).

This module applies the outcomes to transfers. Used by the replicator for each batch, and once at the start for what a
crash interrupted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import msgspec
import structlog

from librarian_daemon.catalog import attributes, landings
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.transfers import arrivals, batch_rows, planning, transfers, transitions
from librarian_daemon.catalog.transfers.batch_rows import Member, Placing
from librarian_daemon.catalog.transfers.transfers import TransferView
from librarian_daemon.catalog.transfers.transitions import Transition
from librarian_daemon.landing import commit
from librarian_daemon.landing.commit import Ends, Steps
from librarian_daemon.ports.incidents import Incidents, mended
from librarian_daemon.ports.staging_keys import list_key, transfer_key, transfer_keys
from librarian_daemon.ports.store import Action, Landing, NotPlaced, Placed, Store
from librarian_daemon.ports.store_capabilities import Expected
from librarian_daemon.ports.time import Clock
from librarian_daemon.runtime.metrics import Metrics
from librarian_protocol.attributes import Attributes
from librarian_protocol.entries import How, InstanceRegistered, Unit
from librarian_protocol.errors import LibrarianError, NameOccupied, StoreError
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


class _Group:
    """One batch's arrivals on their way."""

    def __init__(self, by_id: dict[str, Arrived], kept: Mapping[int, Attributes]) -> None:
        self.by_id = by_id
        #: Ids of those that have a landing row.
        self.with_row: set[str] = set()
        #: How many are at their names, and registered.
        self.stored = 0
        self._kept = kept

    def kept_of(self, file: Arrived) -> Attributes:
        """The attributes that were announced."""
        return self._kept.get(file.owed.row.file_id, Attributes())

    def lacks(self, landing: Landing) -> str:
        """What a person is told of one that came without something."""
        announced = self.kept_of(self.by_id[landing.id]).list
        return _WITHOUT if announced is not None and landing.attributes.list is None else ""


_WITHOUT = "stored; times and modes of its members could not be fetched (docs/attributes.md)"


class Lander:
    """Lands transfers into the stores of this site."""

    def __init__(self, catalog: Catalog, clock: Clock, metrics: Metrics, incidents: Incidents) -> None:
        self._catalog = catalog
        self._incidents = incidents
        self._clock = clock
        self._metrics = metrics
        self._log = structlog.get_logger("lander")

    async def land(self, store: Store, arrived: Sequence[Arrived]) -> int:
        """Land what arrived of one batch; every one of it has an outcome in the catalog when this returns.

        Returns how many are stored.
        """
        by_id = {str(file.owed.id): file for file in arrived}
        kept = await self._catalog.read(attributes.of_files, [file.owed.row.file_id for file in arrived])
        group = _Group(by_id, kept)

        async def begin(sealed: Sequence[Landing]) -> Sequence[Landing]:
            begun = await self._begun(group, store, sealed)
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
            return begun

        await commit.land(
            store,
            [_landing(store, file, group.kept_of(file)) for file in arrived],
            Steps(
                not_sealed=partial(self._fail, by_id),
                begin=begin,
                accept=partial(self._finish, group),
                not_placed=partial(self._fail, by_id),
            ),
        )
        return group.stored

    async def _begun(self, group: _Group, store: Store, sealed: Sequence[Landing]) -> list[Landing]:
        """Those of the sealed that are to be placed.

        The row of the batch names its single files, so nothing is written for them. Others get landing rows: books, and
        what may meet something of this site's at its name.
        """
        if not sealed:
            return []
        files = [group.by_id[mine.id].owed for mine in sealed]
        batch = group.by_id[sealed[0].id].batch
        seen = await self._catalog.read(arrivals.look, self._catalog.position.site, store.id, batch, files)
        rows = [mine for mine in sealed if mine.transfer in seen.special]
        begun = await self._catalog.write(self._begin, rows, group.by_id) if rows else []
        group.with_row.update(mine.id for mine in begun)
        plain = [mine for mine in sealed if mine.transfer not in seen.special and mine.transfer not in seen.stopped]
        return plain + begun

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

    async def _finish(self, group: _Group, done: Sequence[Landing]) -> None:
        if not done:
            return
        by_id = group.by_id

        def work(tx: Tx) -> list[Landing]:
            said = landings.finish(tx, [mine for mine in done if mine.id in group.with_row])
            moves = [
                Transition(view=by_id[mine.id].owed, event=StoreEvent(), message=group.lacks(mine)) for mine in said
            ]
            transitions.apply_transitions(tx, moves, self._clock.boottime_s())
            return said + _stored(tx, by_id[done[0].id].batch, [mine for mine in done if mine.id not in group.with_row])

        said = await self._catalog.write(work)
        group.stored += len(done)
        sums: dict[tuple[SiteName, str], list[int]] = {}
        for mine in said:
            file = by_id[mine.id]
            sums.setdefault((file.source, file.adapter), []).append(mine.size_bytes)
            self._log.debug("file_stored", transfer=mine.transfer, name=mine.name, peer=file.source)
            if mine.action is Action.HEAL:
                await self._healed(mine)
        for (peer, adapter), sizes in sums.items():
            self._metrics.stored_files.labels(peer=peer, adapter=adapter).inc(len(sizes))
            self._metrics.stored_bytes.labels(peer=peer, adapter=adapter).inc(sum(sizes))
            self._log.info("stored", peer=peer, files=len(sizes), size_bytes=sum(sizes), first=said[0].name)

    async def _healed(self, landing: Landing) -> None:
        """Resolve the incident of a bad instance that good bytes replaced."""
        self._log.warning("instance_healed", name=landing.name, transfer=landing.transfer)
        await mended(self._incidents, landing.name)

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

        Called when a store is taken up: before any service runs, or when it is mounted.
        """
        finished = 0

        async def accept(done: Sequence[Landing]) -> None:
            nonlocal finished
            for landing in done:
                await self._catalog.write(_register_recovered, landing, self._clock.boottime_s())
                if landing.action is Action.HEAL:
                    await self._healed(landing)
                finished += 1

        left = await self._catalog.read(landings.unfinished, store.id)
        mine = [landing for landing in left if landing.transfer is not None]
        await commit.recover(store, mine, Ends(accept=accept, not_placed=self._give_up))
        for batch in await self._catalog.read(batch_rows.placing, store.id):
            finished += await self._recover_files(store, batch)
        return finished

    async def _recover_files(self, store: Store, batch: Placing) -> int:
        """Finish the single files of a batch that stand at their names. The others are fetched again."""
        try:
            looked = await store.look(
                [
                    Expected(name=member.name, digest=member.digest, unit=Unit.FILE, size_bytes=member.size_bytes)
                    for member in batch.members
                ]
            )
        except StoreError as exc:
            self._log.warning("names_not_looked_at", store=store.label, batch=batch.batch, error=exc.message)
            return 0
        there = [member for member, seen in zip(batch.members, looked, strict=True) if seen.error is None]
        kept = await self._catalog.read(attributes.of_files, [member.file_id for member in there])
        found = [
            _placing(store, batch.source, member, Unit.FILE, kept.get(member.file_id, Attributes())) for member in there
        ]
        outcomes = [await store.recover(landing) for landing in found]
        placed = [outcome.landing for outcome in outcomes if isinstance(outcome, Placed)]
        return len(await self._catalog.write(_stored, batch.batch, placed)) if placed else 0

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


def _stored(tx: Tx, batch: str, done: Sequence[Landing]) -> list[Landing]:
    """Single files of a batch are at their names. Repeatable: what is registered is said no more."""
    ids = [landing.transfer for landing in done if landing.transfer is not None]
    batch_rows.stored(tx, batch, ids)
    new = landings.absent(tx.connection, tx.site, done)
    if not new:
        return []
    awaited = batch_rows.awaited(tx.connection, tx.site, ids)
    said = landings.say(tx, [landing for landing in new if landing.transfer in awaited])
    return said + landings.say(tx, [landing for landing in new if landing.transfer not in awaited], planned=False)


def failure(owed: TransferView, error: LibrarianError, other_source: bool, *, progressed: bool = False) -> Transition:
    """What an error means for a transfer. ``progressed``: its batch had received something before."""
    return Transition(view=owed, event=Fail(reason_of(error), other_source, progressed), message=error.message)


def _landing(store: Store, file: Arrived, kept: Attributes) -> Landing:
    owed = file.owed
    member = Member(owed.id, owed.row.file_id, owed.name, owed.digest, owed.size_bytes)
    landing = _placing(store, file.source, member, owed.unit, kept)
    if owed.unit is Unit.FILE:
        return landing
    list_rel = "" if kept.list is None else list_key(landing.rel)
    return msgspec.structs.replace(landing, manifest_rel=file.manifest_key, list_rel=list_rel)


def _placing(store: Store, source: SiteName, member: Member, unit: Unit, kept: Attributes) -> Landing:
    return Landing(
        id=str(member.transfer),
        store=store.id,
        root=store.staging_root,
        rel=transfer_key(member.transfer),
        name=member.name,
        digest=member.digest,
        size_bytes=member.size_bytes,
        unit=unit,
        entry=InstanceRegistered(
            name=member.name,
            digest=member.digest,
            size_bytes=member.size_bytes,
            unit=unit,
            store=store.id,
            source_site=source,
            how=How.PULLED,
        ),
        transfer=member.transfer,
        attributes=kept,
    )
