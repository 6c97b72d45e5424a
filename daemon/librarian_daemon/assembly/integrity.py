"""Builds the integrity services: reading instances again, resolved names, withdrawals, reconciling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from librarian_daemon.assembly.ports import Ports, Services
from librarian_daemon.config.settings import SiteSettings
from librarian_daemon.integrity.custodian import Custodian
from librarian_daemon.integrity.freezing import Freezing
from librarian_daemon.integrity.reconciler import Reconciler
from librarian_daemon.integrity.scrubber import Scrubber
from librarian_daemon.integrity.set_aside import NameKeeper
from librarian_daemon.integrity.withdrawals import Withdrawals
from librarian_protocol.entries import FileWithdrawn, InstanceDoubted, NameResolved
from librarian_protocol.scrub import Budget


class Integrity(msgspec.Struct, frozen=True, kw_only=True):
    """The integrity services."""

    custodian: Custodian
    names: NameKeeper
    withdrawals: Withdrawals
    reconciler: Reconciler
    scrubber: Scrubber
    freezing: Freezing

    def services(self) -> Services:
        """What runs."""
        return {
            "custodian": self.custodian.run,
            "names": self.names.run,
            "withdrawals": self.withdrawals.run,
            "reconciler": self.reconciler.run,
            "scrubber": self.scrubber.run,
        }


class Budgets(Mapping[str, Budget]):
    """How each store is read again, by its id: of those that are attached at each look."""

    def __init__(self, ports: Ports, settings: SiteSettings) -> None:
        self._stores = ports.by_id
        self._scrub = settings.scrub
        self._configured = {store.label: store for store in settings.store}

    def __getitem__(self, id_: str) -> Budget:
        return self._scrub.budget(self._configured.get(self._stores[id_].label))

    def __iter__(self) -> Iterator[str]:
        return iter(self._stores)

    def __len__(self) -> int:
        return len(self._stores)


def build_integrity(ports: Ports, settings: SiteSettings) -> Integrity:
    """Each service wakes with the entries that concern it."""
    catalog, by_id = ports.catalog, ports.by_id
    budgets = Budgets(ports, settings)
    freezing = Freezing(catalog, by_id, ports.incidents, ports.site)
    custodian = Custodian(
        catalog,
        by_id,
        ports.incidents,
        ports.clock,
        ports.site,
        ports.metrics,
        settings.reconcile.limit,
        budgets,
        freezing,
    )
    catalog.watch(custodian.wake, InstanceDoubted)
    names = NameKeeper(catalog, by_id, ports.incidents, ports.site)
    catalog.watch(names.wake, NameResolved)
    withdrawals = Withdrawals(catalog, by_id, ports.incidents, ports.rng, ports.site)
    catalog.watch(withdrawals.wake, FileWithdrawn)
    reconciler = Reconciler(
        catalog=catalog,
        stores=ports.stores,
        custodian=custodian,
        incidents=ports.incidents,
        clock=ports.clock,
        site=ports.site,
        settings=settings.reconcile,
        metrics=ports.metrics,
        freezing=freezing,
    )
    scrubber = Scrubber(
        catalog=catalog,
        stores=ports.stores,
        budgets=budgets,
        custodian=custodian,
        freezing=freezing,
        clock=ports.clock,
        site=ports.site,
        metrics=ports.metrics,
    )
    return Integrity(
        custodian=custodian,
        names=names,
        withdrawals=withdrawals,
        reconciler=reconciler,
        scrubber=scrubber,
        freezing=freezing,
    )
