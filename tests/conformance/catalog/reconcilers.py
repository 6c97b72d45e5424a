"""A reconciler of one store."""

from __future__ import annotations

from tests.conformance.catalog.running import SITE

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.config.settings import ReconcileSettings
from librarian_daemon.integrity.custodian import Custodian
from librarian_daemon.integrity.freezing import Freezing
from librarian_daemon.integrity.reconciler import Reconciler
from librarian_daemon.ports.incidents import Incidents
from librarian_daemon.ports.store import SiteStore
from librarian_daemon.runtime.clock import SystemClock
from librarian_daemon.runtime.metrics import Metrics


def reconciler(catalog: Catalog, store: SiteStore, incidents: Incidents) -> Reconciler:
    """With the settings that a site has when it is made."""
    clock, metrics = SystemClock(), Metrics(SITE)
    freezing = Freezing(catalog, {store.id: store}, incidents, SITE)
    return Reconciler(
        catalog=catalog,
        stores=[store],
        custodian=Custodian(catalog, {store.id: store}, incidents, clock, SITE, metrics, 50, {}, freezing),
        incidents=incidents,
        clock=clock,
        site=SITE,
        settings=ReconcileSettings(),
        metrics=metrics,
        freezing=freezing,
    )
