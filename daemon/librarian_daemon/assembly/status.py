"""Builds the views of a site: for people, a service manager and Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from librarian_daemon.assembly.incidents import Watch
from librarian_daemon.assembly.integrity import Budgets
from librarian_daemon.assembly.mesh import Mesh
from librarian_daemon.assembly.ports import Ports, Services
from librarian_daemon.assembly.transfers import Transfers
from librarian_daemon.config.settings import SiteSettings
from librarian_daemon.intake.intakes import Intakes
from librarian_daemon.runtime.systemd import ServiceManager
from librarian_daemon.status.census import Census
from librarian_daemon.status.doctor import Doctor, Served
from librarian_daemon.status.page_address import PageAddress
from librarian_daemon.status.peers import PeerViews
from librarian_daemon.status.problems import Problems
from librarian_daemon.status.scrape import Scraper
from librarian_daemon.status.scrubs import ScrubViews
from librarian_daemon.status.status import Daemon, Views
from librarian_daemon.status.stores import StoreViews
from librarian_daemon.status.transfers import TransferViews
from librarian_protocol.api import DoctorCheck


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The views, and the services around them."""

    views: Views
    census: Census
    scraper: Scraper
    manager: ServiceManager
    #: Where the page and the metrics are served, once they are.
    page: PageAddress
    metrics: PageAddress

    def services(self) -> Services:
        """What runs."""
        return {"census": self.census.run, "service manager": self.manager.run}


def build_status(
    ports: Ports, settings: SiteSettings, mesh: Mesh, transfers: Transfers, intakes: Intakes, watch: Watch
) -> Status:
    """Note that the site has started now."""
    by_id = ports.by_id
    page = PageAddress()
    census = Census(ports.catalog, ports.clock, ports.site)
    membership, presences = mesh.membership, mesh.presences
    problems = Problems(ports.catalog, ports.incidents, ports.bus, ports.site)
    views = Views(
        daemon=Daemon(site=ports.site, bus_mode=settings.bus.mode, started_at=ports.clock.utc()),
        catalog=ports.catalog,
        bus=ports.bus,
        intakes=intakes.services,
        census=census,
        page=page,
        problems=problems,
        peers=PeerViews(
            catalog=ports.catalog,
            membership=membership,
            presences=presences,
            progress=transfers.progress,
            clock=ports.clock,
            site=ports.site,
            key=ports.key.public,
        ),
        stores=StoreViews(
            ports.catalog,
            ports.site,
            by_id,
            watch.health,
            problems.sections,
            ScrubViews(ports.catalog, by_id, Budgets(ports, settings), ports.clock),
        ),
        transfers=TransferViews(
            catalog=ports.catalog,
            stores=by_id,
            membership=membership,
            presences=presences,
            progress=transfers.progress,
            turns=transfers.turns,
            pauses=transfers.pauses,
            clock=ports.clock,
        ),
    )
    scraper = Scraper(
        catalog=ports.catalog,
        bus=ports.bus,
        stores=by_id,
        health=watch.health,
        intakes=intakes.services,
        views=views,
        incidents=ports.incidents,
        metrics=ports.metrics,
        state=Path(settings.state),
    )
    return Status(
        views=views,
        census=census,
        scraper=scraper,
        manager=ServiceManager(ports.clock, views.readiness),
        page=page,
        metrics=PageAddress(),
    )


def build_doctor(
    ports: Ports,
    settings: SiteSettings,
    status: Status,
    mesh: Mesh,
    transfers: Transfers,
    watch: Watch,
    data_address: str,
    readers: Callable[[], Sequence[DoctorCheck]],
) -> Doctor:
    """``readers`` are the checks of the readers' socket."""
    return Doctor(
        catalog=ports.catalog,
        bus=ports.bus,
        presences=mesh.presences,
        stores=ports.stores,
        health=watch.health,
        settings=settings,
        served=Served(data=data_address, page=status.page, metrics=status.metrics),
        pauses=transfers.pauses,
        readers=readers,
        clock=ports.clock,
    )
