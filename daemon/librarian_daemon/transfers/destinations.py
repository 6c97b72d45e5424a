"""Into which store of its subscription each wanted transfer goes (``protocol/store_choice.py``).

It is chosen anew whenever a transfer is about to begin: so transfers go around a store that is full or away, and come
back to it when it is well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec
import structlog

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.transfers import moves, planning
from librarian_daemon.catalog.transfers.moves import Move
from librarian_daemon.catalog.transfers.transfers import TransferView
from librarian_daemon.catalog.transfers.transitions import Transition
from librarian_daemon.landing.failovers import Failovers
from librarian_daemon.landing.rooms import Look, Rooms
from librarian_daemon.ports.staging_keys import transfer_key, transfer_keys
from librarian_daemon.ports.store import Store
from librarian_daemon.transfers.fetcher import Job
from librarian_protocol.errors import StoreError
from librarian_protocol.names import SiteName
from librarian_protocol.store_choice import Candidate, Chosen, Nowhere, Passed, choose
from librarian_protocol.transfer import Fail, Reason
from librarian_protocol.wanted import HEAL, ONE_OFF

_REASONS = {
    Passed.CLOSED: Reason.STORE_CLOSED,
    Passed.UNUSABLE: Reason.STORE_UNUSABLE,
    Passed.FULL: Reason.STORE_FULL,
    Passed.TOO_SMALL: Reason.TOO_LARGE,
}


class Placing(msgspec.Struct, kw_only=True):
    """Where wanted transfers go."""

    look: Look
    #: Those that a store takes, in their order, each with that store.
    owed: list[TransferView] = []
    #: Those that no store takes now.
    hopeless: list[Transition] = []
    #: By transfer: the store into which it was to go before, for those that go elsewhere.
    before: dict[int, str] = {}
    #: Those of them that were begun there: bytes may be staged.
    begun: set[int] = set()
    #: By transfer: the stores that should have taken it.
    instead_of: dict[int, tuple[tuple[str, Passed], ...]] = {}
    #: Stores that are too full for a file whose subscription wants them closed then.
    closing: set[str] = set()
    #: Those of ``owed`` that come from another store of this site.
    local: set[int] = set()
    #: Transfers that are partly staged, and go on although there is less room than their size.
    partly: set[int] = set()


class Destinations:
    """Chooses stores for transfers."""

    def __init__(
        self, catalog: Catalog, site: SiteName, stores: Mapping[str, Store], rooms: Rooms, failovers: Failovers
    ) -> None:
        self._catalog = catalog
        self._site = site
        self._stores = stores
        self.rooms = rooms
        self._failovers = failovers
        self._log = structlog.get_logger("destinations")

    async def place(self, owed: Sequence[TransferView]) -> Placing:
        """Choose for each. Those that fit alone, and not beside others of them, are left out: they come later."""
        rules = await self._catalog.read(planning.subscriptions, self._site)
        into = {rule.id: rule.into for rule in rules}
        local = {rule.id for rule in rules if rule.from_site == self._site}
        deactivating = await self._catalog.read(planning.deactivating)
        several = [view.row.file_id for view in owed if len(into.get(view.row.subscription, ())) > 1]
        occupied = await self._catalog.read(moves.occupied, self._site, several) if several else {}
        kept = await self._catalog.read(moves.kept_from, several) if several else {}
        look = await self.rooms.look()
        placing = Placing(look=look, local={view.id for view in owed if view.row.subscription in local})
        left = dict(look.candidates)
        for view in owed:
            ids = _allowed(view, into, occupied, kept)
            if view.row.subscription in deactivating:
                seen = [look.candidates[id_] for id_ in ids if id_ in look.candidates]
                placing.closing.update(
                    candidate.id for candidate in seen if candidate.passed(view.size_bytes) is Passed.FULL
                )
            answer = _choose(view, [left[id_] for id_ in ids if id_ in left])
            if isinstance(answer, Nowhere):
                alone = [look.candidates[id_] for id_ in ids if id_ in left]
                answer = _choose(view, alone)
                if isinstance(answer, Chosen):
                    continue  # beside the others of this round there is no room for it
                if answer.why is Passed.FULL and await self._is_staged(view):
                    answer = _choose(view, alone, staged=True)
                if isinstance(answer, Nowhere):
                    placing.hopeless.append(_hopeless(view, look, answer))
                    continue
                placing.partly.add(view.id)
            _note(placing, left, view, answer)
        return placing

    async def _is_staged(self, view: TransferView) -> bool:
        store = self._stores.get(view.row.store)
        if store is None or not view.row.chosen:
            return False
        try:
            return await store.has_staged(transfer_key(view.id))
        except StoreError:
            return False

    async def close_full(self, placing: Placing) -> None:
        """Set the stores inactive that are to be closed when they are full."""
        for store in placing.closing:
            candidate = placing.look.candidates[store]
            await self.rooms.close_full(candidate.label, f"it had room for {max(candidate.room_bytes, 0):,} bytes only")

    async def begun(self, placing: Placing, jobs: Sequence[Job]) -> None:
        """These were begun: say which stores were passed by, and remove what is staged where it is not needed."""
        for view in (view for job in jobs for view in job.owed):
            for store, why in placing.instead_of.get(view.id, ()):
                await self._failovers.passed(placing.look, store, why, view.row.store, view.size_bytes)
            before = placing.before.get(view.id)
            if before is not None:
                self._log.info("transfer_moved", transfer=view.id, name=view.name, before=before, store=view.row.store)
                # In a store that is not well it stays until the next start.
                if view.id in placing.begun and not placing.look.codes.get(before) and before in self._stores:
                    with suppress(StoreError):
                        await self._stores[before].discard(transfer_keys(view.id))


def begin(tx: Tx, placing: Placing, jobs: Sequence[Job]) -> list[Job]:
    """The jobs with those of their transfers that can be begun: they are moved, and there is still room for them."""
    wanted = [
        Move(view.id, view.row.file_id, view.row.store)
        for job in jobs
        for view in job.owed
        if view.id in placing.before
    ]
    moved = moves.move(tx, wanted) if wanted else set[int]()
    left = placing.look.left(tx)
    begun: list[Job] = []
    for job in jobs:
        owed = [view for view in job.owed if view.id in moved or view.id not in placing.before]
        if not owed:
            continue
        store = owed[0].row.store
        needed_bytes = sum(view.size_bytes for view in owed if view.id not in placing.partly)
        if needed_bytes <= left[store] or not needed_bytes:
            left[store] -= needed_bytes
            begun.append(msgspec.structs.replace(job, owed=owed))
    return begun


def _allowed(
    view: TransferView,
    into: Mapping[str, Sequence[str]],
    occupied: Mapping[int, set[str]],
    kept: Mapping[int, set[str]],
) -> Sequence[str]:
    """The stores into which it may go, the present one among them."""
    mine = view.row.store
    stores = into.get(view.row.subscription, ())
    # Bad bytes are healed where they stand.
    if mine not in stores or len(stores) == 1 or mine in occupied.get(view.row.file_id, ()):
        return [mine]
    closed = occupied.get(view.row.file_id, set()) | kept.get(view.row.file_id, set())
    return [store for store in stores if store == mine or store not in closed]


def _choose(view: TransferView, candidates: Sequence[Candidate], *, staged: bool = False) -> Chosen | Nowhere:
    if not candidates:
        return Nowhere(why=Passed.UNUSABLE, store=view.row.store)
    if view.row.subscription in {ONE_OFF, HEAL}:  # neither brings what only subscriptions want
        candidates = [msgspec.structs.replace(candidate, ingestable=True) for candidate in candidates]
    return choose(view.size_bytes, candidates, begun=view.row.store if view.row.chosen else "", staged=staged)


def _note(placing: Placing, left: dict[str, Candidate], view: TransferView, chosen: Chosen) -> None:
    if chosen.store != view.row.store:
        placing.before[view.id] = view.row.store
        if view.row.chosen:
            placing.begun.add(view.id)
        row = msgspec.structs.replace(view.row, store=chosen.store, chosen="")
        view = msgspec.structs.replace(view, row=row)
    if chosen.instead_of:
        placing.instead_of[view.id] = chosen.instead_of
    taking = left[chosen.store]
    promised_bytes = taking.promised_bytes + (0 if view.id in placing.partly else view.size_bytes)
    left[chosen.store] = msgspec.structs.replace(taking, promised_bytes=promised_bytes)
    placing.owed.append(view)


def _hopeless(view: TransferView, look: Look, nowhere: Nowhere) -> Transition:
    store = look.candidates.get(nowhere.store)
    if store is None:
        return Transition(
            view=view, event=Fail(Reason.STORE_NOT_MOUNTED), message="the store is not declared at this site"
        )
    reason = _REASONS[nowhere.why]
    if nowhere.why is Passed.UNUSABLE:
        message = store.problem
        if look.codes[store.id] == Reason.STORE_NOT_MOUNTED.value:
            reason = Reason.STORE_NOT_MOUNTED
    elif nowhere.why is Passed.CLOSED:
        message = f"store {store.label!r} takes nothing new"
    elif nowhere.why is Passed.TOO_SMALL:
        message = f"{view.size_bytes:,} bytes: store {store.label!r} has {store.total_bytes:,} in all"
    else:
        message = store.problem or (
            f"{view.size_bytes:,} bytes: in store {store.label!r} {store.free_bytes:,} are free,"
            f" {store.reserve_bytes:,} stay free, {store.promised_bytes:,} are promised to others"
        )
    return Transition(view=view, event=Fail(reason), message=message)
