"""The custodian: reads doubted instances of this site again, and registers the result.

A doubt is another site's complaint that our bytes were wrong (``instance.doubted`` in docs/events.md), or our own data
plane's that it could not read them. The answer is a new state of the instance: healed, or suspected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from librarian_daemon.catalog import landings
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.integrity import comparison, instances, scrubbing, set_aside
from librarian_daemon.catalog.integrity.instances import Holding
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.fs.book_tree import DISK_ERRORS
from librarian_daemon.integrity.freezing import Freezing
from librarian_daemon.ports.incidents import LAST, SUSPECTED, Incidents, mended
from librarian_daemon.ports.store import Check, Store
from librarian_daemon.ports.store_capabilities import keeping_of
from librarian_daemon.ports.time import Clock
from librarian_daemon.runtime.metrics import Metrics
from librarian_daemon.runtime.signals import Signal
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Unit
from librarian_protocol.errors import NotPossible, StoreError, StoreNotMounted
from librarian_protocol.names import SiteName
from librarian_protocol.scrub import Budget
from librarian_protocol.wanted import InstanceState

IDLE_S = 30.0
#: Complaints of our own data plane that can wait; further ones are dropped, because a reader will complain again.
MAX_WAITING = 1000
MANY = "many-anomalies"
UNKNOWN = "unknown-files"
#: Bad last instances that are told of one by one.
_TOLD_ALONE = 1000
MANY_HINT = "none is registered as wrong: look at the disk, its controller and its mount; then `lbctl reconcile --all`"


class Custodian:
    """Service. The data plane reports to it the instances that it could not read."""

    def __init__(
        self,
        catalog: Catalog,
        stores: Mapping[str, Store],
        incidents: Incidents,
        clock: Clock,
        site: SiteName,
        metrics: Metrics,
        limit: int,
        budgets: Mapping[str, Budget],
        freezing: Freezing,
    ) -> None:
        """At most ``limit`` instances of a store are suspected without a person: more have another cause.

        ``budgets``: of each store, by its id: they say how many bad instances freeze it.
        """
        self._catalog = catalog
        self._stores = stores
        self._incidents = incidents
        self._clock = clock
        self._site = site
        self._metrics = metrics
        self._limit = limit
        self._budgets = budgets
        self._freezing = freezing
        #: Whose readers are cut when they are found bad.
        self._suspected: list[Callable[[Digest], None]] = []
        self._log = structlog.get_logger("custodian")
        self._complaints: dict[Digest, str] = {}
        self.wake = Signal()

    def tell_suspected(self, listener: Callable[[Digest], None]) -> None:
        """Have it told of the digest of each instance that is found bad, once that is committed."""
        self._suspected.append(listener)

    async def missing(self, digest: Digest, reason: str) -> None:
        """Our own data plane could not read an instance: read it again."""
        if len(self._complaints) < MAX_WAITING:
            self._complaints[digest] = reason
        self.wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            doubted = await self._catalog.read(instances.doubted_here, self._site, 100)
            for holding in doubted:
                await self.examine(holding)
            while self._complaints:
                digest, reason = self._complaints.popitem()
                found = await self._catalog.read(instances.find, self._site, [digest])
                for holding in found.values():
                    await self.examine(holding, complaint=reason)
            await self._tell_mended()
            await self.tell_alone()
            await self.wake.wait(IDLE_S if not doubted else 1.0)

    async def examine(self, holding: Holding, *, complaint: str = "", insist: bool = False) -> Check | None:
        """Read the instance whole and return the result; None if its store is not mounted, or it is not at its name.

        For a good instance that nobody doubts, this only notes that it was verified. If a store has many suspected
        instances already, no more are suspected unless a person insists.
        """
        store = self._stores.get(holding.store)
        if store is None:
            return None
        check = await self._check(store, holding)
        if check is None:
            return None
        if isinstance(check.error, StoreNotMounted):
            return None
        if isinstance(check.error, StoreError) and not is_disk_error(check.error):
            # Too many open files, or no memory: this says nothing about the bytes.
            self._log.error("instance_not_read", name=str(holding.name), error=check.error.message)
            return check
        subject = str(holding.name)
        if check.error is not None and not insist and await self._are_many(holding):
            self._log.error("instance_wrong_one_of_many", name=subject, error=check.error.message)
            await self._incidents.open(
                MANY,
                store.label,
                f"{self._limit} instances of store {store.label!r} are suspected already, and there are more",
                MANY_HINT,
            )
            await self._freezing.freeze(holding.store, f"more than {self._limit} of its instances are bad")
            return check
        budget = self._budgets.get(holding.store)
        froze = await self._catalog.write(_say, self._site, holding, check, complaint, budget)
        await self._tell_extra(store, holding, check)
        if check.error is None:
            self._log.info("instance_good", name=subject, digest=holding.digest)
            await mended(self._incidents, subject)
        else:
            for listener in self._suspected:
                listener(holding.digest)
            self._metrics.suspected_instances.inc()
            self._log.error("instance_suspected", name=subject, digest=holding.digest, error=check.error.message)
            if froze:
                await self._freezing.tell()
            await self._tell_bad(store, subject, check.error.message)
        return check

    async def _tell_bad(self, store: Store, subject: str, wrong: str) -> None:
        """One incident for the instance; of a frozen store, one for the site stands for all."""
        if not await self._catalog.read(scrubbing.is_frozen, store.id):
            await self._incidents.open(
                SUSPECTED,
                subject,
                f"the instance in store {store.label!r} is not what was ingested: {wrong}",
                "it is not served; it is fetched again from another site by itself, or by `lbctl file heal NAME`",
            )
        await self.tell_alone()

    async def _tell_mended(self) -> None:
        """What was told of instances that are good by now is over: a crash may have come before that was said."""
        told = await self._incidents.subjects(SUSPECTED)
        if told:
            bad = await self._catalog.read(scrubbing.bad_names, self._site, told)
            for name in sorted(set(told) - bad):
                await mended(self._incidents, name)

    async def tell_alone(self) -> None:
        """Open an incident for each file whose only instances are bad, and resolve those that are over."""
        bad = dict(await self._catalog.read(scrubbing.alone, self._site, _TOLD_ALONE))
        open_now = set(await self._incidents.subjects(LAST))
        for name, store in bad.items():
            if name in open_now:
                continue
            known = self._stores.get(store)
            await self._incidents.open(
                LAST,
                name,
                f"the instance in store {known.label if known else store!r} is bad, and no site has a good one",
                "it is kept as it is: drop good bytes under its name, or `lbctl file show NAME` for who had it",
            )
        for name in sorted(open_now - bad.keys()):
            await self._incidents.resolve(LAST, name)

    async def let_bad_go(self, holding: Holding) -> None:
        """A pass found the mended instance right: the bad bytes that were kept need be no longer."""
        store = self._stores[holding.store]
        if await self._catalog.read(scrubbing.shares_bad, holding):
            return
        try:
            await keeping_of(store).drop_bad(holding.digest)
        except (StoreError, NotPossible) as exc:
            self._log.warning("bad_bytes_not_removed", name=holding.name, error=exc.message)
            return
        await self._catalog.write(scrubbing.forget_kept, holding)

    async def _tell_extra(self, store: Store, holding: Holding, check: Check) -> None:
        """Files that somebody put into a stored book harm no member: they are reported and left."""
        subject = f"{store.label}: {holding.name}"
        if check.extra_count:
            await self._incidents.open(
                UNKNOWN,
                subject,
                f"{check.extra_count} in the book {str(holding.name)!a} are not members of it, such as"
                f" {', '.join(ascii(name) for name in check.extra)}",
                "the book is right, and they are left alone; move them out, then `lbctl file verify NAME`",
            )
        elif holding.unit is Unit.BOOK and check.error is None:
            await self._incidents.resolve(UNKNOWN, subject)

    async def _are_many(self, holding: Holding) -> bool:
        if holding.state == "suspected":
            return False
        found = await self._catalog.read(comparison.suspected, self._site, holding.store, self._limit)
        return found >= self._limit

    async def _check(self, store: Store, holding: Holding) -> Check | None:
        """What is at the name; None if the instance is set aside, or is being moved there or back.

        A name can be resolved and bytes moved while we read: then the result means nothing.
        """
        while True:
            before = await self._catalog.read(set_aside.place, holding.file_id, holding.store)
            if not before.at_its_name:
                return None
            check = await store.check(holding.name, holding.digest, holding.unit, holding.size_bytes)
            if check.error is None or before == await self._catalog.read(
                set_aside.place, holding.file_id, holding.store
            ):
                return check


def is_disk_error(error: StoreError) -> bool:
    """Whether the bytes cannot be read; other errors of a store say nothing about them."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in DISK_ERRORS


def _say(tx: Tx, site: SiteName, holding: Holding, check: Check, complaint: str, budget: Budget | None) -> bool:
    """Returns whether that froze the store: in the same commit, so before anything else of it is read."""
    now = instances.state_of(tx.connection, site, holding)
    if check.error is not None:
        scrubbing.set_bad_members(tx, holding, check.bad)
        if now is None or now.state != "available":
            return False
        reason = f"{check.error.message}; {complaint}" if complaint else check.error.message
        tx.append(holding.suspected(reason))
        return budget is not None and scrubbing.note_bad(tx, holding.store, budget)
    landings.note_verified(tx, holding.store, [(holding.name, holding.digest)])
    scrubbing.set_bad_members(tx, holding, ())
    if now is not None and (now.state == InstanceState.SUSPECTED or now.doubted):
        tx.append(holding.healed())
    return False
