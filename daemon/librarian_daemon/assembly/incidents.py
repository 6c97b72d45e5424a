"""Builds the services that watch stores, catalog and bus, and the notifications about incidents."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from librarian_daemon.assembly.ports import Ports, Services
from librarian_daemon.incidents.bus_safety import BusWatch
from librarian_daemon.incidents.catalog_watch import CatalogWatch
from librarian_daemon.incidents.channels import Channel
from librarian_daemon.incidents.notifications import Notifications
from librarian_daemon.incidents.store_health import StoreAdmission, StoreHealth
from librarian_daemon.ports.store import SiteStore


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """The watching services and the notifications."""

    health: StoreHealth
    admission: StoreAdmission
    catalog_watch: CatalogWatch
    bus_watch: BusWatch
    notifications: Notifications

    def services(self) -> Services:
        """What runs."""
        return {
            "stores": self.health.run,
            "taking up": self.admission.run,
            "catalog watch": self.catalog_watch.run,
            "bus watch": self.bus_watch.run,
            "notifications": self.notifications.run,
        }


def build_watch(
    ports: Ports, channels: Sequence[Channel], take_up: Callable[[SiteStore], Awaitable[None]], health: StoreHealth
) -> Watch:
    """``take_up`` finishes what a crash left in a store that is mounted after the start."""
    return Watch(
        health=health,
        admission=StoreAdmission(ports.stores, take_up, ports.clock),
        catalog_watch=CatalogWatch(ports.catalog, ports.clock),
        bus_watch=BusWatch(ports.bus, ports.incidents, ports.clock, ports.site),
        notifications=Notifications(
            channels=channels,
            catalog=ports.catalog,
            incidents=ports.incidents,
            metrics=ports.metrics,
            clock=ports.clock,
            site=ports.site,
        ),
    )
