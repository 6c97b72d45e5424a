"""Intake: one service for each drop directory. They begin and end with the configuration (``Intakes``)."""

from __future__ import annotations

import structlog

from librarian_daemon.assembly.ports import Ports
from librarian_daemon.assembly.stores import directories
from librarian_daemon.config.settings import IntakeSettings, SiteSettings
from librarian_daemon.intake.intakes import Intakes
from librarian_daemon.intake.ledger import CatalogLedger
from librarian_daemon.intake.service import Intake
from librarian_daemon.landing.rooms import Rooms
from librarian_daemon.transfers.pauses import Pauses


def build_intakes(ports: Ports, settings: SiteSettings, pauses: Pauses, rooms: Rooms) -> Intakes:
    """A pause of intake that begins or ends has them look at once, and so has a change of a store."""
    ledger = CatalogLedger(ports.catalog, ports.metrics, ports.incidents, rooms)

    def intake_of(drop: IntakeSettings) -> Intake:
        log = structlog.get_logger("intake")
        store = next(store for store in ports.stores if store.label == drop.store)

        def put_off() -> str:
            return pauses.intake() or rooms.closed.get(store.id, "")

        return Intake(drop, store, ledger, ports.incidents, ports.clock, ports.rng, log, put_off)

    intakes = Intakes(settings.intake, intake_of, ports.incidents, ports.clock, directories(ports.stores))
    pauses.watch(intakes.look_again)
    rooms.watch(intakes.look_again)
    return intakes
