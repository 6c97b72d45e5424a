"""Builds the status page and the metrics server."""

from __future__ import annotations

import msgspec

from librarian_daemon.assembly.ports import Ports, Services
from librarian_daemon.assembly.status import Status
from librarian_daemon.config.settings import SiteSettings
from librarian_daemon.page.metrics_server import MetricsServer
from librarian_daemon.page.server import StatusPage
from librarian_daemon.page.throughput import Throughput


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Two servers."""

    page: StatusPage
    metrics: MetricsServer

    def services(self) -> Services:
        """What runs."""
        return {"page": self.page.run, "metrics": self.metrics.run}


def build_page(ports: Ports, settings: SiteSettings, status: Status) -> Page:
    """Each serves at the configured address, if there is one."""
    return Page(
        page=StatusPage(
            listen=settings.page.listen,
            address=status.page,
            catalog=ports.catalog,
            views=status.views,
            throughput=Throughput(ports.metrics.totals, ports.clock),
            clock=ports.clock,
        ),
        metrics=MetricsServer(
            listen=settings.metrics.listen, address=status.metrics, scraper=status.scraper, clock=ports.clock
        ),
    )
