"""Builds the integrity services: reading instances again, resolved names, withdrawals, reconciling."""

from __future__ import annotations

import msgspec

from librarian_daemon.assembly.ports import Ports, Services
from librarian_daemon.config.settings import SiteSettings
from librarian_daemon.integrity.custodian import Custodian
from librarian_daemon.integrity.reconciler import Reconciler
from librarian_daemon.integrity.set_aside import NameKeeper
from librarian_daemon.integrity.withdrawals import Withdrawals
from librarian_protocol.entries import FileWithdrawn, InstanceDoubted, NameResolved


class Integrity(msgspec.Struct, frozen=True, kw_only=True):
    """The integrity services."""

    custodian: Custodian
    names: NameKeeper
    withdrawals: Withdrawals
    reconciler: Reconciler

    def services(self) -> Services:
        """What runs."""
        return {
            "custodian": self.custodian.run,
            "names": self.names.run,
            "withdrawals": self.withdrawals.run,
            "reconciler": self.reconciler.run,
        }


def build_integrity(ports: Ports, settings: SiteSettings) -> Integrity:
    """Each service wakes with the entries that concern it."""
    catalog, by_id = ports.catalog, ports.by_id
    custodian = Custodian(
        catalog, by_id, ports.incidents, ports.clock, ports.site, ports.metrics, settings.reconcile.limit
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
    )
    return Integrity(custodian=custodian, names=names, withdrawals=withdrawals, reconciler=reconciler)
