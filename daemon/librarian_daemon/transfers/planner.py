"""The planner: looks at every file of which something changed, and makes or ends transfers (docs/architecture.md).

It reads behind a cursor over changes, decides with :func:`librarian_protocol.wanted.wanted`, and commits what follows
together with the cursor. Files that land where a subscription is to are planned in the transaction that applies what
tells of them. A new subscription is tried page by page on everything that was known before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import structlog

from librarian_daemon.catalog import backfills
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.meta import put_meta
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.transfers import order, planning, transfers, transitions
from librarian_daemon.catalog.transfers.order import Takeover
from librarian_daemon.catalog.transfers.planning import FileState, Held, Look, Page, PlainFile
from librarian_daemon.catalog.transfers.transfers import NewTransfer, TransferView
from librarian_daemon.catalog.transfers.transitions import Transition
from librarian_daemon.ports.time import Clock
from librarian_daemon.runtime.signals import Signal
from librarian_protocol import globs, wire
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Unit
from librarian_protocol.names import SiteName
from librarian_protocol.priorities import of_subscription
from librarian_protocol.segments import hash_of
from librarian_protocol.transfer import LIVE, POLICIES, Answered, Cancel, Reason, State, Transfer
from librarian_protocol.transfer import Want as WantAgain
from librarian_protocol.wanted import (
    HEAL,
    ONE_OFF,
    FileFacts,
    Here,
    SubscriptionFacts,
    Unwanted,
    UnwantedReason,
    Want,
    healing,
    wanted,
)

#: Files in one page; bounds memory and the length of a transaction.
PAGE = 2000
#: Of a back-fill: what changed meanwhile is planned between two of its pages, and must not wait long.
BACKFILL_PAGE = 500
#: A change that was missed is found after this time at the latest.
IDLE_S = 60.0
#: How often the transfers of subscriptions to new files are looked at again.
AGED_EVERY_S = 3600.0
#: Reasons that pass by themselves: a transfer that exists goes on waiting.
_PASSING = frozenset(
    {
        UnwantedReason.NO_SOURCE,
        UnwantedReason.NO_OTHER_STORE,
        UnwantedReason.SOURCE_DOUBTED,
        UnwantedReason.NO_COMMON_ADAPTER,
    }
)


class Plan(msgspec.Struct, kw_only=True):
    """The consequences of a page of files."""

    wishes: list[NewTransfer] = []
    moves: list[Transition] = []
    #: Transfers that belong to another subscription now.
    takeovers: list[Takeover] = []


class Planner:
    """Service. ``transfers_changed`` wakes the replicator."""

    def __init__(
        self,
        catalog: Catalog,
        clock: Clock,
        site: SiteName,
        adapters: Sequence[str],
        transfers_changed: Signal,
    ) -> None:
        self._catalog = catalog
        self._clock = clock
        self._site = site
        self._adapters = adapters
        self._transfers_changed = transfers_changed
        #: When to look at age again.
        self._aged_s = 0.0
        self._log = structlog.get_logger("planner")

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            look = await self._catalog.read(planning.look, self._site, self._adapters)
            origins = [subscription.from_site for subscription in look.subscriptions]
            self._catalog.pressing = None if None in origins else frozenset(filter(None, origins))
            anew = await self._notice_surroundings(look)
            await self._look_at_age(look)
            busy = await self._changed(look)
            busy = await self._backfill(look) or busy or anew
            if not busy:
                await self._catalog.changed.wait(IDLE_S)

    async def _look_at_age(self, look: Look) -> None:
        """Now and then look at what is still to come: meanwhile some of it may be older than is wanted."""
        now_s = self._clock.boottime_s()
        if now_s >= self._aged_s and any(subscription.newest_s is not None for subscription in look.subscriptions):
            self._aged_s = now_s + AGED_EVERY_S
            await self._catalog.write(planning.replan_live)

    def plan(self, tx: Tx) -> tuple[Plan, bool]:
        """Plan a page of what changed: read, decided and written in one transaction. Also whether there may be more."""
        mine, here = planning.load_here(tx.connection, self._site, self._adapters)
        matches = [subscription.match for subscription in mine]
        page = planning.changed_files(tx.connection, PAGE, matches, planning.settling(mine))
        plan = Plan()
        if page.last is not None:
            plan = decide(page, mine, msgspec.structs.replace(here, now_s=self._clock.unix_s()))
            _commit(tx, plan, self._clock.boottime_s())
            planning.planned_until(tx, *page.last)
        return plan, page.full

    def planned(self, outcome: tuple[Plan, bool]) -> bool:
        """What :meth:`plan` returned is committed. Returns whether nothing is left."""
        plan, more = outcome
        self._told(plan)
        return not more

    async def _notice_surroundings(self, look: Look) -> bool:
        """A new site, offer or store may make any file obtainable: apply all subscriptions to all files again."""
        here = look.here
        now = hash_of(wire.encode([sorted(here.active_stores), list(here.adapters), sorted(here.offers.items())]))
        if look.surroundings == now:
            return False

        def work(tx: Tx) -> None:
            put_meta(tx.connection, planning.SURROUNDINGS, now)
            for subscription in look.subscriptions:
                backfills.start(tx, subscription.id)
            planning.replan_suspected(tx)

        await self._catalog.write(work)
        return True

    async def _changed(self, look: Look) -> bool:
        """Plan a page of what changed. Returns whether there may be more. Changes meanwhile set the signal."""
        if not look.changed:
            return False
        plan, more = await self._catalog.write_behind(self.plan)
        self._told(plan)
        return more

    async def _backfill(self, look: Look) -> bool:
        if not look.backfills:
            return False
        subscription_id, after = look.backfills[0]
        mine = [subscription for subscription in look.subscriptions if subscription.id == subscription_id]
        page = await self._catalog.read(
            planning.files_after,
            after,
            BACKFILL_PAGE,
            [subscription.match for subscription in mine],
            planning.settling(mine),
        )
        here = msgspec.structs.replace(look.here, now_s=self._clock.unix_s())
        plan = decide(page, mine, here, may_cancel=False, everyone=look.subscriptions)

        def work(tx: Tx) -> None:
            _commit(tx, plan, self._clock.boottime_s())
            planning.backfilled(tx, subscription_id, page.last[1] if page.last and mine else None)

        await self._catalog.write(work)
        self._told(plan)
        return True

    def _told(self, plan: Plan) -> None:
        if plan.wishes or plan.moves:
            self._log.debug("planned", new=len(plan.wishes), moved=len(plan.moves))
            self._transfers_changed.set()


def decide(
    page: Page,
    subscriptions: Sequence[SubscriptionFacts],
    here: Here,
    *,
    may_cancel: bool = True,
    everyone: Sequence[SubscriptionFacts] = (),
) -> Plan:
    """The consequences for each file of the page. Pure.

    Where several subscriptions want a file in one store, the one with the greatest priority fetches it. ``everyone``:
    all that there are, where those that are tried are not all.
    """
    plan = Plan()
    answers = _Answers(here)
    priorities = {subscription.id: subscription.priority for subscription in everyone or subscriptions}
    subscriptions = sorted(subscriptions, key=lambda subscription: -subscription.priority)
    for file in page.plain:
        _want_plain(plan, file, subscriptions, answers)
    for seen in page.known:
        known = planning.admitted(seen, here)
        stores: set[str] = set()
        passing = False
        heals = healing(known.file, known.instances, here.site)
        for subscription in [*subscriptions, *known.one_offs, *heals]:
            if known.file_id <= subscription.after_file:
                continue
            answer = answers.wanted(known, subscription)
            if isinstance(answer, Want):
                store = _place(known, answer)
                if store not in stores:
                    stores.add(store)
                    _want(plan, known, store, subscription)
                    _take_over(plan, known, store, subscription, priorities)
            elif answer.reason in _PASSING:
                passing = True
        if may_cancel and not passing:
            for store, row in known.transfers.items():
                if store not in stores and row.transfer.state in LIVE and row.transfer.state is not State.LANDED:
                    plan.moves.append(Transition(view=_owed(known, store), event=Cancel(), message="no longer wanted"))
    return plan


def _want_plain(plan: Plan, file: PlainFile, subscriptions: Sequence[SubscriptionFacts], answers: _Answers) -> None:
    """As for other files. It has no transfer that could end, and nobody asked for it by name."""
    stores: set[str] = set()
    for subscription in subscriptions:
        if file.file_id <= subscription.after_file or not answers.takes(file, subscription):
            continue
        answer = answers.of_plain(file, subscription)
        if isinstance(answer, Want) and answer.store not in stores:
            stores.add(answer.store)
            plan.wishes.append(_wish(file.file_id, file.change, answer.store, subscription))


def _wish(file_id: int, change: int, store: str, subscription: SubscriptionFacts) -> NewTransfer:
    return NewTransfer(
        file_id=file_id,
        store=store,
        subscription=subscription.id,
        change=change,
        priority=of_subscription(subscription.priority),
    )


class _Answers:
    """What is wanted of files that match. Files that differ in names and sizes only have one answer."""

    def __init__(self, here: Here) -> None:
        self._here = here
        self._known: dict[tuple[object, ...], Want | Unwanted] = {}
        self._plain: dict[tuple[Held, str], Want | Unwanted] = {}

    def takes(self, file: PlainFile, subscription: SubscriptionFacts) -> bool:
        """Whether it is of the subscription's business."""
        return subscription.takes(file.name, file.size_bytes, file.ingested_at, self._here.now_s)

    def wanted(self, known: FileState, subscription: SubscriptionFacts) -> Want | Unwanted:
        """As :func:`librarian_protocol.wanted.wanted`."""
        file = known.file
        if not globs.matches(subscription.match, file.name):
            return Unwanted(UnwantedReason.NAME_DOES_NOT_MATCH)
        if not subscription.is_small_enough(file.size_bytes):
            return Unwanted(UnwantedReason.LARGER_THAN_WANTED)
        if not subscription.is_new_enough(file.ingested_at, self._here.now_s):
            return Unwanted(UnwantedReason.OLDER_THAN_WANTED)
        flags = file.withdrawn, file.conflict, file.set_aside, file.occupied
        rule = subscription.match, tuple(subscription.into), subscription.from_site
        key = (rule, file.origin, flags, tuple(known.instances))
        if key not in self._known:
            self._known[key] = wanted(file, subscription, known.instances, self._here)
        return self._known[key]

    def of_plain(self, file: PlainFile, subscription: SubscriptionFacts) -> Want | Unwanted:
        """The same, of a file whose name matches, and that is small and new enough."""
        key = file.held, subscription.id
        found = self._plain.get(key)
        if found is None:
            facts = FileFacts(
                name=file.name,
                digest=_ANY,
                size_bytes=0,
                unit=Unit.FILE,
                origin=file.held.origin,
                withdrawn=False,
                conflict=False,
            )
            instances = planning.counting(file.held.instances, self._here)
            found = self._plain[key] = wanted(facts, subscription, instances, self._here)
        return found


#: What is wanted of a plain file does not depend on its bytes.
_ANY = Digest.blake3(b"")


def _place(known: FileState, answer: Want) -> str:
    """The store in which it is wanted: one into which it is brought already, or from which a person cancelled it."""
    for wants in (_is_live, _is_cancelled_by_person):
        for store in (answer.store, *answer.others):
            row = known.transfers.get(store)
            if row is not None and wants(row.transfer):
                return store
    return answer.store


def _is_live(transfer: Transfer) -> bool:
    return transfer.state in LIVE


def _is_cancelled_by_person(transfer: Transfer) -> bool:
    return transfer.state is State.CANCELLED and transfer.reason is Reason.BY_PERSON


def _want(plan: Plan, known: FileState, store: str, subscription: SubscriptionFacts) -> None:
    row = known.transfers.get(store)
    if row is None:
        plan.wishes.append(_wish(known.file_id, known.change, store, subscription))
        return
    state, reason = row.transfer.state, row.transfer.reason
    if _is_cancelled_by_person(row.transfer):
        return
    if state in {State.STORED, State.CANCELLED}:
        plan.moves.append(Transition(view=_owed(known, store), event=WantAgain()))
    elif state is State.PARKED and reason is not None and POLICIES[reason].doubt:
        plan.moves.append(Transition(view=_owed(known, store), event=Answered(), message="the source answered"))


def _take_over(
    plan: Plan, known: FileState, store: str, subscription: SubscriptionFacts, priorities: Mapping[str, int]
) -> None:
    """Give a transfer to the subscription if its own one is no more, or has a lower priority.

    What a person asked for keeps the priority that he gave it.
    """
    row = known.transfers.get(store)
    if row is None or {row.subscription, subscription.id} & _NO_SUBSCRIPTIONS:
        return
    if priorities.get(row.subscription, -1) < subscription.priority:
        priority = of_subscription(subscription.priority)
        plan.takeovers.append(Takeover(transfer=row.transfer.id, subscription=subscription.id, priority=priority))


_NO_SUBSCRIPTIONS = {ONE_OFF, HEAL}


def _owed(known: FileState, store: str) -> TransferView:
    file = known.file
    return TransferView(
        row=known.transfers[store], name=file.name, digest=file.digest, size_bytes=file.size_bytes, unit=file.unit
    )


def _commit(tx: Tx, plan: Plan, now_s: float) -> None:
    # A file that changed since (or is gone, or whose number another file has) is looked at again anyway.
    transfers.create(tx, plan.wishes)
    transitions.apply_transitions(tx, plan.moves, now_s)
    order.take_over(tx, plan.takeovers)
