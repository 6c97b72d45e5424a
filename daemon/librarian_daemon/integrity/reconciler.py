"""Compares this site's stores with its catalog, at start and at intervals, to find changes without an event.

What is missing or has another size is read again by the custodian, who says what it found; a file that nobody knows is
reported, never moved or deleted; what is staged for no transfer is removed; subscriptions are tried on all files again.
Where too much is wrong at once, the cause is hardly the files: then nothing is said of them, and a person is asked.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress

import msgspec
import structlog

from librarian_daemon.catalog import backfills
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.integrity import comparison
from librarian_daemon.catalog.integrity.instances import Holding
from librarian_daemon.catalog.journal import quarantine
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.transfers import batch_rows, planning
from librarian_daemon.config.settings import ReconcileSettings
from librarian_daemon.integrity.comparison import Comparison, Unclaimed
from librarian_daemon.integrity.custodian import MANY, MANY_HINT, UNKNOWN, Custodian
from librarian_daemon.integrity.freezing import Freezing
from librarian_daemon.ports.incidents import Incidents
from librarian_daemon.ports.staging_keys import is_transfer_key
from librarian_daemon.ports.store import Store
from librarian_daemon.ports.store_capabilities import Expected
from librarian_daemon.ports.time import Clock
from librarian_daemon.runtime.metrics import Metrics
from librarian_protocol import api
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Unit
from librarian_protocol.errors import NotPossible, SourceMissing, StoreError
from librarian_protocol.names import SiteName

#: Unknown files that are remembered and examined a second time; more are only counted.
SAMPLE = 100
_TOLD = 3


class Reconciler:
    """Service, and what a person asks for. One run at a time."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        stores: Sequence[Store],
        custodian: Custodian,
        incidents: Incidents,
        clock: Clock,
        site: SiteName,
        settings: ReconcileSettings,
        metrics: Metrics,
        freezing: Freezing,
    ) -> None:
        self._freezing = freezing
        self._catalog = catalog
        self._stores = stores
        self._custodian = custodian
        self._incidents = incidents
        self._clock = clock
        self._site = site
        self._settings = settings
        self._metrics = metrics
        self._running = asyncio.Lock()
        self._log = structlog.get_logger("reconciler")

    async def run(self) -> None:
        """Until cancelled. During recovery it waits: then stores are registered, not reported."""
        replan = False  # a start continues from the planner's cursor
        while True:
            with suppress(NotPossible):
                await self.once(replan=replan)
            await self._clock.sleep(self._settings.every_s)
            replan = True

    async def once(self, *, all_of_it: bool = False, replan: bool = True) -> list[api.Reconciled]:
        """Reconcile every store now, and return the result.

        Args:
            all_of_it: a person has looked: wrong instances are registered, however many there are.
            replan: whether subscriptions are tried on all files again.

        Raises:
            NotPossible: the site recovers from a lost catalog.
        """
        async with self._running:
            if await self._catalog.read(quarantine.state) is not None:
                raise NotPossible("this site recovers its catalog", hint="`lbctl recover` shows what it waits for")
            found = [await self._store(store, all_of_it) for store in list(self._stores)]
            if replan:
                await self._catalog.write(_try_all_again, self._site)
            return found

    async def _store(self, store: Store, all_of_it: bool) -> api.Reconciled:
        began_s = self._clock.boottime_s()
        compared = Comparison(self._catalog, store, self._site)
        report = api.Reconciled(store=store.id, label=store.label)
        try:
            report.removed = await clean(store, self._catalog)
            await self._rows(store, compared, report, all_of_it)
            await self._names(store, compared, report)
        except (StoreError, NotPossible) as exc:
            report.error = exc.message
            self._log.warning("store_not_reconciled", store=store.label, error=exc.message)
        report.looked = compared.looked
        report.seconds = round(self._clock.boottime_s() - began_s, 3)
        if not report.error:
            self._metrics.reconciled.labels(store.label).set(self._clock.unix_s())
            self._log.info("reconciled", **msgspec.structs.asdict(report))
        return report

    async def _rows(self, store: Store, compared: Comparison, report: api.Reconciled, all_of_it: bool) -> None:
        """Collect the wrong instances first: their number decides what is done."""
        limit = self._settings.limit
        already = await self._catalog.read(comparison.suspected, self._site, store.id, limit)
        gathered: list[Holding] = []
        async for holding, error in compared.rows():
            if error is not None:
                report.wrong += 1
                if report.wrong <= _TOLD:
                    report.examples.append(f"{holding.name}: {error.message}")
            if all_of_it:
                await self._custodian.examine(holding, insist=True)
            elif len(gathered) <= limit:
                gathered.append(holding)
        report.acted = all_of_it or already + report.wrong <= limit
        if not report.acted:
            await self._incidents.open(
                MANY,
                store.label,
                f"{report.wrong} instances of store {store.label!r} look wrong, such as {'; '.join(report.examples)}",
                MANY_HINT,
            )
            await self._freezing.freeze(store.id, f"{report.wrong} of its instances look wrong")
            return
        for holding in gathered:
            await self._custodian.examine(holding)
        await self._incidents.resolve(MANY, store.label)

    async def _names(self, store: Store, compared: Comparison, report: api.Reconciled) -> None:
        sample: list[Unclaimed] = []
        beyond = 0
        async for found in compared.names():
            if len(sample) < SAMPLE:
                sample.append(found)
            else:
                beyond += 1
        # Looked at again: a name may have been on its way to its row, or from it.
        still = [found for found in sample if await self._is_unclaimed(store, found)]
        report.unknown = len(still) + beyond + compared.extra.count
        examples = [os.fsdecode(found.standing.path) for found in still] + compared.extra.examples
        report.unknown_examples = examples[:_TOLD]
        # Incidents about single books are replaced by this one, which has all of them.
        await self._incidents.resolve_all(UNKNOWN, lambda subject: subject.startswith(f"{store.label}: "))
        if not report.unknown:
            await self._incidents.resolve(UNKNOWN, store.label)
            return
        await self._incidents.open(
            UNKNOWN,
            store.label,
            f"{report.unknown} in store {store.label!r} are no files of the catalog, such as"
            f" {', '.join(ascii(name) for name in report.unknown_examples)}",
            "they are left alone; move them out, or take them in through a drop directory",
        )

    async def _is_unclaimed(self, store: Store, found: Unclaimed) -> bool:
        if found.name is None:
            return True
        if not await self._catalog.read(comparison.is_unclaimed, self._site, store.id, str(found.name)):
            return False
        # It may have left its name since it was listed: withdrawn, or given up.
        expected = Expected(name=found.name, digest=_ANY, unit=Unit.FILE, size_bytes=0)
        (seen,) = await store.look([expected])
        return not isinstance(seen.error, SourceMissing)


#: Whether anything stands at a name does not depend on what should.
_ANY = Digest.blake3(b"")


async def clean(store: Store, catalog: Catalog, *, services_run: bool = True) -> int:
    """Remove staged bytes without a live transfer. Returns the number of keys.

    Staging is listed before the catalog is read: a transfer has its row before it stages anything. While services run,
    only keys of transfers are judged: other keys have no row while they are written.

    Raises:
        StoreError: the store does not answer.
    """
    staged = await store.staged()
    live = await catalog.read(batch_rows.live_keys, store.id)
    ended = sorted(key for key in staged - live if not services_run or is_transfer_key(key))
    await store.discard(ended)
    return len(ended)


def _try_all_again(tx: Tx, site: SiteName) -> None:
    """The planner tries every subscription on every file, and looks again at what is under way."""
    for subscription in planning.subscriptions(tx.connection, site):
        backfills.start(tx, subscription.id)
    planning.replan_live(tx)
