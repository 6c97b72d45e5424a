"""Intake: one service for each drop directory. They begin and end with the configuration (``Intakes``)."""

from __future__ import annotations

import structlog

from librarian_daemon.assembly.ports import Ports
from librarian_daemon.assembly.stores import directories
from librarian_daemon.config.settings import IntakeSettings, SiteSettings
from librarian_daemon.intake.intakes import Intakes
from librarian_daemon.intake.ledger import CatalogLedger
from librarian_daemon.intake.service import Intake
from librarian_daemon.landing.failovers import Failovers
from librarian_daemon.landing.rooms import Rooms
from librarian_daemon.transfers.pauses import Pauses


def build_intakes(ports: Ports, settings: SiteSettings, pauses: Pauses, rooms: Rooms, failovers: Failovers) -> Intakes:
    """A pause of intake that begins or ends has them look at once, and so has a change of a store."""
    ledger = CatalogLedger(ports.catalog, ports.metrics, ports.incidents, rooms, failovers)

    def intake_of(drop: IntakeSettings) -> Intake:
        log = structlog.get_logger("intake")
        by_label = {store.label: store for store in ports.stores}
        stores = [by_label[label] for label in drop.stores]

        def put_off() -> str:
            closed = [rooms.closed.get(store.id, "") for store in stores]
            return pauses.intake() or ("; ".join(closed) if all(closed) else "")

        return Intake(drop, stores, ledger, ports.incidents, ports.clock, ports.rng, log, put_off)

    intakes = Intakes(settings.intake, intake_of, ports.incidents, ports.clock, directories(ports.stores))
    pauses.watch(intakes.look_again)
    rooms.watch(intakes.look_again)
    return intakes
